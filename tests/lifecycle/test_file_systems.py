"""A share whose file system has met an error: users and operators are told, and it stays served."""

from __future__ import annotations

import errno
from collections.abc import Callable

import pytest

from atoll.model.states import FileSystemState
from harness.memory_deployment import MemoryDeployment
from tests.lifecycle.operator import Operator


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    made = new_deployment(reconcile_interval=0.3)
    made.start_worker()
    return made


def told(deployment: MemoryDeployment, share_id: str) -> list[str]:
    messages = deployment.call("GET", "/messages")["messages"]
    return [each["user_message"] for each in messages if each["resource_id"] == share_id]


def volume(deployment: MemoryDeployment, share_id: str) -> str:
    found = deployment.cloud.volumes.find_volume(f"share/{share_id}")
    assert found is not None
    return found.id


@pytest.mark.parametrize(
    ("state", "words", "write", "read"),
    [
        (FileSystemState.ERRORS, "has recorded errors", 0, 0),
        (FileSystemState.READ_ONLY, "can only be read", errno.EROFS, 0),
        (FileSystemState.SHUT_DOWN, "can't be read or written", errno.EIO, errno.EIO),
    ],
)
def test_a_damaged_file_system_is_told_until_it_is_repaired(
    deployment: MemoryDeployment, state: FileSystemState, words: str, write: int, read: int
) -> None:
    share_id, operator = deployment.served(), Operator(deployment)
    deployment.cloud.damage_file_system(volume(deployment, share_id), state)
    deployment.until(lambda: told(deployment, share_id), "the user to be told")
    [text] = told(deployment, share_id)
    assert words in text
    assert deployment.share(share_id)["status"] == "available"
    finding = operator.finding("File systems")
    assert not finding["ok"]
    assert f"share/{share_id} ({state})" in finding["detail"]
    mount = deployment.mount(share_id)
    assert failure(lambda: mount.write("more", b"")) == write
    assert failure(lambda: mount.read("data")) == read

    [instance] = deployment.cloud.compute.list_instances()
    deployment.cloud.delete_instance(instance.id)  # the next one repairs it
    deployment.until(lambda: not operator.finding("File systems"), "the file system to be sound")
    assert deployment.mount(share_id).read("data") == b"precious"
    assert told(deployment, share_id).count(text) == 1


def failure(access: Callable[[], object]) -> int:
    """The number of the error that a client gets; 0 if there is none."""
    try:
        access()
    except OSError as error:
        return error.errno or -1
    return 0
