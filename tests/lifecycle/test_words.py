"""Users read Atoll's own sentences: nothing that a cloud, an agent or ssh says of itself."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll import errors
from harness.memory_deployment import MemoryDeployment

WORDS = (
    "ssh: connect to host bastion-7.inside.example port 22: 10.254.3.9 refused; HTTP 500 of "
    "http://controller:8776/v3 by Cinder: qemu-img could not open /var/lib/atoll/local/v.qcow2"
)
PIECES = ("ssh", "bastion-7", "10.254.", "HTTP", "controller", "Cinder", "qemu", "/var/lib")
NO_FAILURE = {"Postponed", "LaneFull", "LeaseLost", "WorkerStopping", "NoShareServer"}
"""Work that ends so goes on by itself, or the share server's operation tells users of it."""
PAGES = (
    "/messages",
    "/shares/detail",
    "/snapshots/detail",
    "/share-networks/detail",
    "/share-servers",
    "/services",
    "/scheduler-stats/pools/detail",
)


def tree(kind: type[errors.AtollError] = errors.AtollError) -> Iterator[type[errors.AtollError]]:
    """Every error of Atoll."""
    yield kind
    for below in kind.__subclasses__():
        yield from tree(below)


NAMES = sorted({kind.__name__ for kind in tree() if kind.__module__ == errors.__name__})


def bodies(deployment: MemoryDeployment) -> str:
    """All that the API says of the deployment, to an administrator, who sees most."""
    pages = [deployment.call("GET", page) for page in PAGES]
    for share in deployment.call("GET", "/shares")["shares"]:
        path = f"/shares/{share['id']}"
        pages += [
            deployment.call("GET", f"{path}{end}") for end in ("/export_locations", "/metadata")
        ]
        pages.append(deployment.call("GET", f"/share-access-rules?share_id={share['id']}"))
    return json.dumps(pages)


def only_our_words(deployment: MemoryDeployment) -> None:
    """Nothing of what was planted is read anywhere."""
    text = bodies(deployment)
    assert [piece for piece in PIECES if piece in text] == []


def told(deployment: MemoryDeployment, resource_id: str) -> list[str]:
    """The messages about it."""
    messages = deployment.call("GET", "/messages")["messages"]
    return [m["user_message"] for m in messages if m["resource_id"] == resource_id]


def test_the_walk_finds_the_errors() -> None:
    assert {"CloudUnavailable", "OutOfCapacity", "GuestBusy", "NotFound", "Refusal"} < {*NAMES}


def test_no_error_lets_words_through(new_deployment: Callable[..., MemoryDeployment]) -> None:
    deployment = new_deployment()
    kinds = {deployment.create(): name for name in NAMES if name not in NO_FAILURE}
    for share_id, name in kinds.items():
        deployment.cloud.faults.fail("create_volume", name, WORDS, times=None, about=share_id)
    deployment.start_worker()
    deployment.until(
        lambda: all(told(deployment, share_id) for share_id in kinds), "news of them all"
    )
    for share_id, name in kinds.items():
        text = told(deployment, share_id)[0]
        assert getattr(errors, name).public in text
        assert "The administrator finds more in the log under request id req-" in text
    only_our_words(deployment)


@pytest.mark.parametrize("error", ["CloudError", "CloudUnavailable"])
@pytest.mark.parametrize(
    "call", ["create_port", "create_instance", "wait_for_instance", "attach_volume"]
)
def test_no_step_of_a_share_lets_words_through(
    deployment: MemoryDeployment, call: str, error: str
) -> None:
    deployment.cloud.faults.fail(call, error, WORDS, times=None)
    share_id = deployment.create()
    deployment.until(lambda: told(deployment, share_id), "news")
    only_our_words(deployment)


@pytest.mark.parametrize(
    ("call", "error"),
    [
        ("apply_share", "GuestError"),
        ("apply_share", "GuestUnreachable"),
        ("apply_share", "DeviceNotBlank"),
        ("open_guest", "GuestUnreachable"),
    ],
)
def test_no_answer_of_an_instance_lets_words_through(
    deployment: MemoryDeployment, call: str, error: str
) -> None:
    deployment.cloud.faults.fail(call, error, WORDS, times=None)
    share_id = deployment.create()
    deployment.until(lambda: told(deployment, share_id), "news")
    only_our_words(deployment)


@pytest.mark.parametrize("error", ["CloudError", "CloudUnavailable", "OutOfCapacity"])
def test_a_share_that_is_there_lets_no_words_through(
    deployment: MemoryDeployment, error: str
) -> None:
    share_id, copied_id = deployment.create(), deployment.create()
    deployment.settled(share_id)
    deployment.settled(copied_id)
    deployment.cloud.faults.fail("extend_volume", error, WORDS, times=None)
    deployment.cloud.faults.fail("create_snapshot", error, WORDS, times=None)
    # Of another share: a share does not grow while a snapshot of it is being taken.
    snapshot_id = deployment.snapshot(copied_id)
    deployment.until(lambda: told(deployment, snapshot_id), "news of the snapshot")
    deployment.act(share_id, extend={"new_size": 3})
    deployment.until(lambda: told(deployment, share_id), "news of the share")
    only_our_words(deployment)


@pytest.mark.parametrize("call", ["freeze_share", "thaw_share", "remove_share", "apply_share"])
def test_an_agent_of_a_share_that_is_there_lets_no_words_through(
    deployment: MemoryDeployment, call: str
) -> None:
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.cloud.faults.fail(call, "GuestError", WORDS, times=None)
    thing_id = deployment.snapshot(share_id) if call in ("freeze_share", "thaw_share") else share_id
    if call == "remove_share":
        deployment.call("DELETE", f"/shares/{share_id}")
    elif call == "apply_share":
        deployment.allow(share_id)
    deployment.until(lambda: told(deployment, thing_id), "news")
    only_our_words(deployment)


def test_a_share_network_lets_no_words_through(deployment: MemoryDeployment) -> None:
    deployment.cloud.faults.fail("create_network", "CloudError", WORDS, times=None)
    made = deployment.call("POST", "/share-networks", {"share_network": {"name": "second"}})
    network_id = made["share_network"]["id"]

    def failed() -> Any:
        messages = deployment.call("GET", "/messages")["messages"]
        return [m for m in messages if m["resource_type"] == "SHARE_NETWORK_SUBNET"]

    deployment.until(failed, f"news of {network_id}")
    only_our_words(deployment)


def test_what_users_wrote_is_named_to_them(deployment: MemoryDeployment) -> None:
    """A sentence that says nothing of the user's own thing would help nobody."""
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.cloud.faults.fail("extend_volume", "OutOfCapacity", WORDS)
    deployment.act(share_id, extend={"new_size": 3})
    [text] = deployment.until(lambda: told(deployment, share_id), "news")
    assert "no room" in text
    assert "ask the administrator" in text
