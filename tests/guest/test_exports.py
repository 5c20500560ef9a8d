"""NFS exports: whole sets, one ``exportfs`` for many, and per-rule refusals."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from atoll.guest.agent import caches, nfs, system
from atoll.guest.agent.rules import servable
from atoll.guest.agent.system import Deadline
from tests.guest.conftest import HERE, Site
from tests.guest.test_rules import ip_rules

FSID = "11111111-2222-3333-4444-555555555555"


@pytest.fixture
def server(site: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
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


def test_a_set_replaces_the_former_one(server: Site) -> None:
    export("a", "10.0.0.1", "10.0.0.10")
    export("b", "10.0.0.1")
    export("a", "10.0.0.10", "2001:db8::/32")
    assert set(clients("a")) == {"10.0.0.10", "2001:db8::/32"}
    assert set(clients("b")) == {"10.0.0.1"}
    export("a")
    assert not clients("a")
    assert not (server.root / "etc/exports.d/a.exports").exists()


def test_nothing_is_run_where_nothing_changes(server: Site) -> None:
    for _ in range(3):
        export("a", "10.0.0.1")
    assert server.lines("exportfs.log") == ["-r"]
    caches.ETAB.unlink()  # the server's own table counts, not the file that we wrote
    export("a", "10.0.0.1")
    assert set(clients("a")) == {"10.0.0.1"}


def test_a_changed_level_or_squash_is_a_change(server: Site) -> None:
    export("a", "10.0.0.1")
    export("a", "10.0.0.1", level="ro", squash="all_squash")
    assert {"ro", "all_squash", f"fsid={FSID}", "mountpoint"} <= clients("a")["10.0.0.1"]


def test_a_refused_client_does_not_hurt_the_others(server: Site) -> None:
    (server.root / "refused").write_text("10.0.0.2")
    assert export("a", "10.0.0.1", "10.0.0.2") == {"10.0.0.2": "exportfs: 10.0.0.2: no such thing"}
    assert set(clients("a")) == {"10.0.0.1"}
    assert export("b", "10.0.0.3") == {}


def test_requests_at_the_same_time_share_a_run(server: Site) -> None:
    with ThreadPoolExecutor(20) as pool:
        list(pool.map(lambda number: export(f"s{number}", "10.0.0.1"), range(20)))
    assert all(clients(f"s{number}") for number in range(20))
    assert len(server.lines("exportfs.log")) <= 4


def test_a_run_that_can_not_be_made_fails_its_callers_only(server: Site) -> None:
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


@settings(
    max_examples=6, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.lists(ip_rules), st.lists(ip_rules))
def test_after_any_two_sets_the_last_one_is_served(
    server: Site, first: list[dict[str, str]], last: list[dict[str, str]]
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
