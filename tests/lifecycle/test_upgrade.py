"""A newer service image, and the operator who has all instances boot it."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import pytest

from atoll.cli import servers
from harness.memory_deployment import MemoryDeployment
from tests.lifecycle.operator import Operator


@pytest.fixture
def site(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    """Two share servers with a share each."""
    deployment = new_deployment(max_shares_per_share_server=1)
    deployment.start_worker()
    return deployment


def filled(deployment: MemoryDeployment) -> Any:
    """A share with a file that its instance has not flushed, as a client has it mounted."""
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "available"
    deployment.allow(share_id)
    deployment.settled(share_id)
    mount = deployment.mount(share_id)
    mount.write("data", b"precious", sync=False)
    return mount


def read(mount: Any) -> bytes:
    """Hangs while the instance is away, as a real mount would; any other error is one."""
    end = time.monotonic() + 20
    while True:
        try:
            return bytes(mount.read("data"))
        except TimeoutError:
            assert time.monotonic() < end


def test_instances_are_replaced_one_after_another(site: MemoryDeployment) -> None:
    mounts = [filled(site), filled(site)]
    operator = Operator(site)
    before = operator.servers()
    assert len(before) == 2
    assert {server["is_current"] for server in before.values()} == {True}
    assert "newest" in operator.run("server", "upgrade").stdout

    site.cloud.images.publish()
    assert {server["is_current"] for server in operator.servers().values()} == {False}
    dry = operator.run("server", "upgrade", "--dry-run")
    assert all(server_id in dry.stdout for server_id in before)
    assert operator.servers().keys() == before.keys()

    mark = site.cloud.journal.mark()
    done = operator.run("server", "upgrade", "--timeout", "30")
    assert done.exit_code == 0, done.output
    after = operator.servers()
    assert {server["is_current"] for server in after.values()} == {True}
    assert all(after[key]["instance"] != before[key]["instance"] for key in before)
    assert [read(mount) for mount in mounts] == [b"precious"] * 2
    names = ("compute.create_instance", "compute.fence_instance")
    calls = [c.name for c in site.cloud.journal.calls(since=mark) if c.name in names]
    assert calls == [*names, *names]  # never two away at once, and none before the next has booted
    assert len(site.cloud.compute.list_instances()) == 2
    assert "newest" in operator.run("server", "upgrade").stdout


def test_one_may_be_upgraded_before_the_others(site: MemoryDeployment) -> None:
    filled(site), filled(site)
    operator = Operator(site)
    first, second = operator.servers()
    site.cloud.images.publish()
    done = operator.run("server", "upgrade", first, "--timeout", "30")
    assert done.exit_code == 0, done.output
    seen = operator.servers()
    assert (seen[first]["is_current"], seen[second]["is_current"]) == (True, False)
    assert operator.run("server", "upgrade", "nonsense").exit_code != 0


@pytest.mark.parametrize(
    ("call", "error"), [("wait_for_instance", "CloudError"), ("keep_state", "GuestError")]
)
def test_an_image_that_does_not_serve_interrupts_nobody(
    site: MemoryDeployment, call: str, error: str
) -> None:
    mounts = [filled(site), filled(site)]
    operator = Operator(site)
    before = operator.servers()
    site.cloud.images.publish()
    site.cloud.faults.fail(call, error, times=None)
    failed = operator.run("server", "upgrade", "--timeout", "30")
    assert failed.exit_code != 0
    assert "did not come up" in str(failed.exception)
    after = operator.servers()
    assert {key: after[key] for key in before} == {
        key: {**server, "is_current": False} for key, server in before.items()
    }
    assert [mount.read("data") for mount in mounts] == [b"precious"] * 2
    site.until(lambda: len(site.cloud.compute.list_instances()) == 2, "the failed ones to go")
    site.cloud.faults.clear()
    assert operator.run("server", "upgrade", "--timeout", "60").exit_code == 0
    assert [read(mount) for mount in mounts] == [b"precious"] * 2


def test_an_instance_that_dies_while_the_next_can_not_be_made_is_replaced(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    site = new_deployment(reconcile_interval=0.5)
    site.start_worker()
    mount = filled(site)
    mount.write("data", b"precious")
    operator = Operator(site)
    [(server_id, server)] = operator.servers().items()
    site.cloud.images.publish()
    site.cloud.faults.fail("create_port", "CloudUnavailable", times=None)
    servers.ask(site.database, server_id)
    site.until(lambda: len(operator.servers()) == 2, "the row of the next one")
    site.cloud.delete_instance(server["instance"])
    site.cloud.faults.clear()
    assert read(mount) == b"precious"
    site.until(lambda: operator.servers()[server_id]["is_current"], "the newer image")
    assert read(mount) == b"precious"
    site.until(lambda: len(site.cloud.compute.list_instances()) == 1, "the others to go")


def test_a_backup_from_before_a_renewal_serves_again(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    site = new_deployment(reconcile_interval=0.3)
    site.start_worker()
    mount, operator = filled(site), Operator(site)
    backup = operator.backup()
    site.cloud.images.publish()
    assert operator.run("server", "upgrade", "--timeout", "30").exit_code == 0
    assert read(mount) == b"precious"
    check = json.loads(operator.run("restore", "check", "--json").stdout)
    assert not [said for said in check if "instance" in str(said)]
    site.stop_workers()
    operator.restore(backup)
    site.start_worker()
    site.until(site.is_refused, "the hold")
    operator.release()
    [server_id] = [key for key, each in operator.servers().items() if each["shares"]]
    site.until(lambda: not operator.servers()[server_id]["silent_since"], "the server")
    assert read(mount) == b"precious"


def test_without_room_for_a_second_instance_one_goes_first(site: MemoryDeployment) -> None:
    mounts = [filled(site), filled(site)]
    operator = Operator(site)
    before = operator.servers()
    site.cloud.images.publish()
    site.cloud.faults.fail("create_instance", "OutOfCapacity", times=None)

    def is_refused() -> bool:
        """The command says why, once a worker has tried."""
        failed = operator.run("server", "upgrade", "--timeout", "2")
        assert failed.exit_code != 0
        return "room" in str(failed.exception)

    site.until(is_refused, "the reason")
    after = operator.servers()
    away = [key for key in before if after[key]["instance"] != before[key]["instance"]]
    assert len(site.cloud.compute.list_instances()) == 1
    assert len(away) <= 1
    site.cloud.faults.clear()
    assert operator.run("server", "upgrade", "--timeout", "60").exit_code == 0
    assert {server["is_current"] for server in operator.servers().values()} == {True}
    assert [read(mount) for mount in mounts] == [b"precious"] * 2
