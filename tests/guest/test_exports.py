"""NFS exports: whole sets, one ``exportfs`` for many, and per-rule refusals."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.guest.agent import caches, nfs, system
from atoll.guest.agent.rules import servable
from atoll.guest.agent.system import Deadline
from tests.guest.conftest import HERE, InstanceDouble
from tests.guest.test_rules import ip_rules

RULES = {("ip", "10.0.0.1"): "rw"}
FSID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def server(site: InstanceDouble, monkeypatch: pytest.MonkeyPatch) -> InstanceDouble:
    """This process as the agent of an instance."""
    monkeypatch.setattr(nfs, "EXPORTS", site.root / "etc/exports.d")
    monkeypatch.setattr(nfs, "UNSETTLED", site.root / "exports.unsettled")
    monkeypatch.setattr(caches, "ETAB", site.root / "var/lib/nfs/etab")
    monkeypatch.setattr(system, "RUN", site.root / "run/atoll")
    environment = {**system.ENVIRONMENT, "PATH": f"{HERE}/programs:{system.ENVIRONMENT['PATH']}"}
    environment["ATOLL_AGENT_ROOT"] = str(site.root)
    monkeypatch.setattr(system, "ENVIRONMENT", environment)
    return site


def export(
    share_id: str, *addresses: str, level: str = "rw", squash: str = "root_squash"
) -> dict[str, str]:
    rules = [{"type": "ip", "to": to, "level": level} for to in addresses]
    accepted, _ = servable(rules, "NFS")
    return nfs.export(share_id, f"/shares/{share_id}", FSID, squash, accepted, Deadline(10))


def clients(share_id: str) -> dict[str, frozenset[str]]:
    return {
        client: options for path, client, options in nfs.table() if path == f"/shares/{share_id}"
    }


def test_a_set_replaces_the_former_one(server: InstanceDouble) -> None:
    export("a", "10.0.0.1", "10.0.0.10")
    export("b", "10.0.0.1")
    export("a", "10.0.0.10", "2001:db8::/32")
    assert set(clients("a")) == {"10.0.0.10", "2001:db8::/32"}
    assert set(clients("b")) == {"10.0.0.1"}
    export("a")
    assert not clients("a")
    assert not (server.root / "etc/exports.d/a.exports").exists()


def test_nothing_is_run_where_nothing_changes(server: InstanceDouble) -> None:
    for _ in range(3):
        export("a", "10.0.0.1")
    assert server.lines("exportfs.log") == ["-r"]
    caches.ETAB.unlink()  # the server's own table counts, not the file that we wrote
    export("a", "10.0.0.1")
    assert set(clients("a")) == {"10.0.0.1"}


def test_a_changed_level_or_squash_is_a_change(server: InstanceDouble) -> None:
    export("a", "10.0.0.1")
    export("a", "10.0.0.1", level="ro", squash="all_squash")
    assert {"ro", "all_squash", f"fsid={FSID}", "mountpoint"} <= clients("a")["10.0.0.1"]


def test_a_refused_client_does_not_hurt_the_others(server: InstanceDouble) -> None:
    (server.root / "refused").write_text("10.0.0.2")
    assert export("a", "10.0.0.1", "10.0.0.2") == {"10.0.0.2": "exportfs: 10.0.0.2: no such thing"}
    assert set(clients("a")) == {"10.0.0.1"}
    assert export("b", "10.0.0.3") == {}


def test_requests_at_the_same_time_share_a_run(server: InstanceDouble) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: export(f"s{number}", "10.0.0.1"), range(20)))
    assert all(clients(f"s{number}") for number in range(20))
    assert len(server.lines("exportfs.log")) <= 4


def test_a_run_that_can_not_be_made_fails_its_callers_only(server: InstanceDouble) -> None:
    with system.locked("exportfs", Deadline(5)), ThreadPoolExecutor(1) as pool:
        late = pool.submit(
            nfs.export,
            "a",
            "/shares/a",
            FSID,
            "root_squash",
            {("ip", "10.0.0.1"): "rw"},
            Deadline(0.3),
        )
        with pytest.raises(system.AgentError, match="still being worked on"):
            late.result()
    assert export("a", "10.0.0.1") == {}


@pytest.fixture
def mountd(server: InstanceDouble, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the kernel tells of a daemon that answers it, as files."""
    monkeypatch.setattr(caches, "PROC", server.root / "proc")
    monkeypatch.setattr(caches, "_daemons", [])
    for cache in caches.CACHES:
        (server.root / "proc/net/rpc" / cache).mkdir(parents=True)
    process = server.root / "proc/321"
    (process / "fd").mkdir(parents=True)
    (process / "comm").write_text("rpc.mountd\n")
    return process


def show(process: Path, state: str, where: str, slept: int = 7) -> None:
    (process / "status").write_text(f"State:\t{state}\nvoluntary_ctxt_switches:\t{slept}\n")
    (process / "wchan").write_text(where)


def flushed(server: InstanceDouble) -> list[bool]:
    return [(server.root / "proc/net/rpc" / one / "flush").exists() for one in caches.CACHES]


@pytest.mark.parametrize("where", ["poll_schedule_timeout.constprop.0", "do_select"])
def test_a_mountd_without_work_costs_no_time(
    server: InstanceDouble, mountd: Path, where: str
) -> None:
    show(mountd, "S (sleeping)", where)
    begun = time.monotonic()
    caches.settle(Deadline(10))
    assert time.monotonic() - begun < caches.STILL
    assert all(flushed(server))


@pytest.mark.parametrize("where", ["0", "", "a_function_of_tomorrow"])
def test_a_kernel_need_not_tell_where_mountd_sleeps(
    server: InstanceDouble, mountd: Path, where: str
) -> None:
    show(mountd, "S (sleeping)", where)
    caches.settle(Deadline(10))
    assert all(flushed(server))


@pytest.mark.parametrize("state", ["R (running)", "D (disk sleep)"])
def test_an_answer_in_the_making_is_awaited(
    server: InstanceDouble, mountd: Path, state: str
) -> None:
    show(mountd, state, "0")
    with pytest.raises(system.AgentError, match="still answering"):
        caches.settle(Deadline(3 * caches.STILL))
    assert not any(flushed(server))
    caches.ETAB.parent.mkdir(parents=True)
    caches.ETAB.write_text("")
    (mountd / "fd/9").symlink_to(caches.ETAB)  # the next answer is by the new table
    caches.settle(Deadline(10))
    assert all(flushed(server))


def test_short_sleeps_are_no_wait_for_questions(
    server: InstanceDouble, mountd: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(caches, "STILL", 1.5)  # a busy machine may let the dozing thread wait
    ended = threading.Event()

    def doze() -> None:
        slept = 0
        while not ended.wait(0.01):
            slept += 1
            show(mountd, "S (sleeping)", "0", slept)

    show(mountd, "S (sleeping)", "0", 0)
    dozing = threading.Thread(target=doze)
    dozing.start()
    try:
        with pytest.raises(system.AgentError, match="still answering"):
            caches.settle(Deadline(2))
    finally:
        ended.set()
        dozing.join()
    assert not any(flushed(server))


def test_rules_are_settled_by_the_next_agent_where_one_was_cut_short(
    server: InstanceDouble, mountd: Path
) -> None:
    show(mountd, "R (running)", "0")
    with pytest.raises(system.AgentError, match="still answering"):
        nfs.export("a", "/shares/a", FSID, "root_squash", RULES, Deadline(1))
    show(mountd, "S (sleeping)", "do_select")
    nfs.export("a", "/shares/a", FSID, "root_squash", RULES, Deadline(10))
    assert all(flushed(server))


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ip_rules), st.lists(ip_rules))
def test_after_any_two_sets_the_last_one_is_served(
    server: InstanceDouble, first: list[dict[str, str]], last: list[dict[str, str]]
) -> None:
    for rules in (first, last):
        accepted, _ = servable(rules, "NFS")
        nfs.export("a", "/shares/a", FSID, "root_squash", accepted, Deadline(10))
        served = {
            ("ip", to): "rw" if "rw" in options else "ro" for to, options in clients("a").items()
        }
        assert served == accepted


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep/file"
    system.write(path, "one")
    system.write(path, "two")
    assert path.read_text() == "two"
    assert [path.name for path in path.parent.iterdir()] == ["file"]
