"""A worker that was frozen in the middle, and overtaken, destroys nothing when it goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.memory_deployment import LEASE, MemoryDeployment

pytestmark = pytest.mark.both_databases

DESTROYS = ("delete_*", "detach_*", "disconnect_*", "fence_*", "reboot_*")

Begin = Callable[[MemoryDeployment, str], None]
Over = Callable[[MemoryDeployment, str], bool]


def lose_instance(deployment: MemoryDeployment, _: str) -> None:
    [instance] = deployment.cloud.compute.list_instances()
    deployment.cloud.delete_instance(instance.id)


def is_served(deployment: MemoryDeployment, share_id: str) -> bool:
    try:
        return bool(deployment.mount(share_id).read("data") == b"precious")
    except TimeoutError:
        return False


def delete_share(deployment: MemoryDeployment, share_id: str) -> None:
    deployment.call("DELETE", f"/shares/{share_id}")


def has_no_shares(deployment: MemoryDeployment, _: str) -> bool:
    return not deployment.call("GET", "/shares")["shares"]


@pytest.mark.parametrize(
    ("call", "begin", "over"),
    [
        ("fence_instance", lose_instance, is_served),
        ("detach_volume", delete_share, has_no_shares),
    ],
)
def test_an_overtaken_worker_destroys_nothing(
    new_deployment: Callable[..., MemoryDeployment], call: str, begin: Begin, over: Over
) -> None:
    deployment, share_id, zombie = _frozen_after(new_deployment, call, begin)
    deployment.start_worker()
    deployment.until(lambda: over(deployment, share_id), "the other worker's work")
    mark = deployment.cloud.journal.mark()
    os.kill(zombie, signal.SIGCONT)
    time.sleep(3 * LEASE)
    journal = deployment.cloud.journal
    done = [each for name in DESTROYS for each in journal.calls(name, since=mark)]
    assert [each for each in done if each.pid == zombie] == []
    assert over(deployment, share_id)
    assert deployment.cloud.accidents() == []


def _frozen_after(
    new_deployment: Callable[..., MemoryDeployment], call: str, begin: Begin
) -> tuple[MemoryDeployment, str, int]:
    """A deployment, its share, and its worker, which is stopped after a call.

    Where the worker was stopped in a transaction of SQLite, another deployment is tried.
    """
    for _ in range(3):
        deployment = new_deployment(
            reconcile_interval=0.5, connect_share_server_to_tenant_network=False
        )
        worker = deployment.start_worker()
        share_id = deployment.served()
        deployment.cloud.faults.freeze(call, when="after")
        begin(deployment, share_id)
        assert worker.pid is not None
        state = Path(f"/proc/{worker.pid}/stat")
        deployment.until(
            lambda: state.read_text().rpartition(") ")[2].startswith("T"),  # noqa: B023
            "the worker to freeze",
        )
        if deployment.writable():
            return deployment, share_id, worker.pid
        deployment.close()
    raise AssertionError("the worker was in a transaction each time")
