"""What the cloud ``openstack`` does of itself, without an OpenStack."""

from __future__ import annotations

import threading
import time

import pytest
from requests import Response

from atoll.cloud.openstack.failures import check
from atoll.cloud.openstack.tags import deployment_tag, owner_of, owner_tag
from atoll.cloud.openstack.waiting import FEW, Watch
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable, OutOfCapacity


class SlowThings:
    """Things that are finished after a while, and a count of who looked."""

    def __init__(self, seconds: float) -> None:
        self.finished_at = time.monotonic() + seconds
        self.gets = 0
        self.lists = 0
        self.watch = Watch(self.get, self.list)

    def get(self, thing_id: str) -> str | None:
        self.gets += 1
        return self._state() if thing_id.startswith("thing") else None

    def list(self) -> dict[str, str]:
        self.lists += 1
        return {f"thing {number}": self._state() for number in range(100)}

    def _state(self) -> str:
        return "available" if time.monotonic() > self.finished_at else "creating"

    def wait(self, thing_id: str, seconds: float = 10) -> str | None:
        return self.watch.until(thing_id, lambda state: state != "creating", seconds, "The making")


def test_many_wait_with_one_look_for_all() -> None:
    site = SlowThings(1.5)
    threads = [threading.Thread(target=site.wait, args=(f"thing {n}",)) for n in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert site.lists < 25
    assert site.gets < 60  # each looks once for itself


def test_one_alone_looks_only_at_its_own() -> None:
    site = SlowThings(0.5)
    assert site.wait("thing 1") == "available"
    assert site.lists == 0


def test_what_a_list_lacks_is_asked_for_by_id_before_it_counts_as_gone() -> None:
    site = SlowThings(0.3)
    others = [threading.Thread(target=site.wait, args=(f"thing {n}",)) for n in range(FEW + 1)]
    for thread in others:
        thread.start()
    assert site.wait("thing 1000") == "available"  # no list has it
    assert site.wait("no such thing") is None
    for thread in others:
        thread.join()


def test_patience_ends_with_a_sentence() -> None:
    with pytest.raises(CloudUnavailable, match=r"The making was not done in 0\.3 seconds"):
        SlowThings(60).wait("thing 1", 0.3)


@pytest.mark.parametrize(
    ("status", "words", "meaning"),
    [
        (404, "Instance could not be found", CloudNotFound),
        (403, "Quota exceeded for instances", OutOfCapacity),
        (413, "VolumeLimitExceeded", OutOfCapacity),
        (409, "No more IP addresses available on network", OutOfCapacity),
        (409, "Cannot 'attach_volume' while it is in task_state rebooting", CloudUnavailable),
        (503, "Service Unavailable", CloudUnavailable),
        (429, "Too Many Requests", CloudUnavailable),
        (400, "Invalid volume", CloudError),
        (401, "The request you have made requires authentication", CloudError),
    ],
)
def test_refusals_have_a_meaning(status: int, words: str, meaning: type[CloudError]) -> None:
    response = Response()
    response.status_code = status
    response.headers["content-type"] = "application/json"
    response._content = f'{{"fault": {{"message": "{words}", "code": {status}}}}}'.encode()
    with pytest.raises(CloudError, match=r"Nova") as caught:
        check("Nova", response)
    assert type(caught.value) is meaning
    assert words in str(caught.value)


@pytest.mark.parametrize("kind", ["share_server", "share_network", "share_network_subnet"])
def test_tags_are_as_nova_wants_them_and_tell_the_owner(kind: str) -> None:
    owner = f"{kind}/6f1f4dbd-8c6f-4d9e-a6bb-0d2f58ac5fd3"
    tags = [deployment_tag("6f1f4dbd-8c6f-4d9e-a6bb-0d2f58ac5fd3"), owner_tag(owner)]
    assert all(len(tag) <= 60 and "/" not in tag and "," not in tag for tag in tags)
    assert owner_of(sorted(tags)) == owner
