"""Every verb, broken off at every call to cloud and guest, then run again: same end, no leak.

Three ways to break: the call fails, its answer is lost, or everything after its effect fails, also
what would clean up (as after kill -9). What the worker had in memory is gone: the second run has a
new driver and no open channel.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable

import pytest

from atoll.cloud.memory import Mount
from atoll.driver.generic import GenericShareDriver
from atoll.driver.service_instance import ServiceInstanceManager
from atoll.errors import AtollError
from atoll.guest.pool import GuestPool
from tests.driver.in_memory import DriverOnMemory, RoutedDriverOnMemory, Row, rule

ALICE, BOB = "10.0.0.205", "10.0.0.206"
SHARE = "5d0c5bd8-5b5c-4f5f-9d5b-3c8f0e3c2a11"
CLONE = "8a3f7a08-1111-4f5f-9d5b-3c8f0e3c2a11"


class Story:
    """A share's life up to some point, and the verb that is broken off there."""

    def __init__(self, site: DriverOnMemory) -> None:
        self.site = site
        self.share = self.site.share(2, rules=[rule(ALICE)]) | {"id": SHARE}
        self.clone = self.site.share(3, rules=[rule(ALICE)]) | {"id": CLONE}
        self.snapshot: Row = {"id": "p1", "share_id": SHARE}
        self.server: Row = {}
        self.old_details: Row = {}

    def restart_worker(self) -> None:
        """What a worker knew is gone; storage and cloud stay."""
        site = self.site
        site.cloud.faults.clear()
        site.pool = GuestPool()
        site.manager = ServiceInstanceManager(
            site.options, cloud=site.cloud, storage=site.storage, pool=site.pool
        )
        site.driver = GenericShareDriver(
            cloud=site.cloud,
            storage=site.storage,
            service_instance_manager=site.manager,
            configuration=site.options,
        )

    # --- verbs --------------------------------------------------------------------------------

    def setup_server(self) -> None:
        self.server = self.site.server()

    def create(self) -> None:
        self.site.driver.prepare_share(self.site.context(), self.share)
        self.site.driver.create_share(self.site.context(), self.share, self.server)

    def extend(self) -> None:
        self.site.driver.extend_share(self.site.context(), self.share, 5, self.server)

    def allow_bob(self) -> None:
        self.share["access_rules"] = [rule(ALICE, "ro"), rule(BOB)]
        self.site.update_access(self.share, self.server, *self.share["access_rules"])

    def take_snapshot(self) -> None:
        self.site.driver.create_snapshot(self.site.context(), self.snapshot, self.server)

    def create_clone(self) -> None:
        self.site.driver.create_share_from_snapshot(
            self.site.context(), self.clone, self.snapshot, self.server
        )

    def set_up_warm_server(self) -> None:
        self.site.driver.setup_server([{"server_id": "warm"}])

    def replace(self, stand_in: str | None = None) -> None:
        old = self.old_details or self.server["backend_details"]
        self.old_details = old
        details = self.site.manager.replace_service_instance(
            self.site.context(), old, stand_in=stand_in
        )
        self.server["backend_details"] = details
        self.site.driver.ensure_share(self.site.context(), self.share, self.server)

    def replace_by_warm_server(self) -> None:
        self.replace("warm")

    def delete_clone(self) -> None:
        self.site.driver.delete_share(self.site.context(), self.clone, self.server)

    def delete_snapshot(self) -> None:
        self.site.driver.delete_snapshot(self.site.context(), self.snapshot)

    def delete(self) -> None:
        self.site.driver.delete_share(self.site.context(), self.share, self.server)

    def teardown_server(self) -> None:
        self.site.driver.teardown_server({"server_id": "s1"})
        self.site.driver.teardown_server({"server_id": "warm"})

    # --- looking ------------------------------------------------------------------------------

    def write(self) -> None:
        self.mount(ALICE).write("a", b"data")

    def kill_instance(self) -> None:
        self.site.cloud.kill_instance(self.server["backend_details"]["instance_id"])

    def mount(self, client: str, share: str = SHARE) -> Mount:
        address = self.server["backend_details"]["public_address"]
        return self.site.client(client).mount(f"{address}:/shares/{share}")


def serves(story: Story) -> None:
    story.mount(ALICE).write("new", b"")


def kept_its_data(story: Story) -> None:
    assert story.mount(ALICE).read("a") == b"data"


def grew(story: Story) -> None:
    kept_its_data(story)
    serves(story)
    assert story.mount(ALICE).size_gib() == 5


def knows_bob(story: Story) -> None:
    kept_its_data(story)
    story.mount(BOB).write("b", b"")
    with pytest.raises(OSError, match="Read-only"):
        story.mount(ALICE).write("b", b"")


def has_a_snapshot(story: Story) -> None:
    serves(story)
    assert len(story.site.cloud.volumes.list_snapshots()) == 1
    story.create_clone()
    has_a_clone(story)


def has_a_clone(story: Story) -> None:
    clone = story.mount(ALICE, CLONE)
    assert clone.read("a") == b"data"
    assert clone.size_gib() == 3
    kept_its_data(story)


def is_empty(story: Story) -> None:
    assert story.site.leftovers() == {}


def nothing(_: Story) -> None:
    pass


Verb = Callable[[Story], None]

LIFE: list[Verb] = [Story.setup_server, Story.create, Story.write]
CASES: dict[str, tuple[list[Verb], Verb, Verb]] = {
    "setup_server": ([], Story.setup_server, nothing),
    "create": (LIFE[:1], Story.create, serves),
    "extend": (LIFE, Story.extend, grew),
    "update_access": (LIFE, Story.allow_bob, knows_bob),
    "create_snapshot": (LIFE, Story.take_snapshot, has_a_snapshot),
    "create_from_snapshot": ([*LIFE, Story.take_snapshot], Story.create_clone, has_a_clone),
    "replace": ([*LIFE, Story.kill_instance], Story.replace, kept_its_data),
    "stand in": (
        [*LIFE, Story.set_up_warm_server, Story.kill_instance],
        Story.replace_by_warm_server,
        kept_its_data,
    ),
    "delete_snapshot": ([*LIFE, Story.take_snapshot], Story.delete_snapshot, kept_its_data),
    "delete": (LIFE, Story.delete, nothing),
    "teardown_server": (LIFE[:1], Story.teardown_server, is_empty),
}


def break_off(story: Story, way: str, number: int) -> None:
    faults = story.site.cloud.faults
    if way == "fail":
        faults.fail("*", nth=number)
    elif way == "lose":
        faults.lose("*", nth=number)
    else:  # every later call, also a clean-up's, finds no worker
        faults.lose("*", nth=number)
        faults.fail("*", nth=number + 1, times=None)


def calls_of(layout: type[DriverOnMemory], case: str) -> int:
    """How many calls the verb makes when nobody disturbs it."""
    before, verb, after = CASES[case]
    story = begin(layout, before)
    start = story.site.cloud.journal.mark()
    verb(story)
    calls = story.site.cloud.journal.count(since=start)
    after(story)
    assert calls > 0
    return calls


def begin(layout: type[DriverOnMemory], before: list[Verb]) -> Story:
    story = Story(layout())
    for step in before:
        step(story)
    return story


def remove_everything(story: Story) -> None:
    story.delete_clone()
    story.delete_snapshot()
    story.delete()
    story.teardown_server()
    is_empty(story)
    assert story.site.cloud.accidents() == []
    story.site.cloud.close()


in_both_layouts = pytest.mark.parametrize(
    ("layout", "case"),
    [
        *((DriverOnMemory, case) for case in CASES),
        *((RoutedDriverOnMemory, case) for case in ("setup_server", "replace", "teardown_server")),
    ],
)


@pytest.mark.parametrize("way", ["fail", "lose", "die"])
@in_both_layouts
def test_broken_off_anywhere_and_run_again(
    layout: type[DriverOnMemory], case: str, way: str
) -> None:
    before, verb, after = CASES[case]
    for number in range(1, calls_of(layout, case) + 1):
        story = begin(layout, before)
        break_off(story, way, number)
        with contextlib.suppress(AtollError):
            verb(story)
        story.restart_worker()
        verb(story)
        after(story)
        remove_everything(story)


@pytest.mark.parametrize("way", ["fail", "lose", "die"])
@in_both_layouts
def test_broken_off_anywhere_and_given_up(
    layout: type[DriverOnMemory], case: str, way: str
) -> None:
    before, verb, _ = CASES[case]
    for number in range(1, calls_of(layout, case) + 1):
        story = begin(layout, before)
        break_off(story, way, number)
        with contextlib.suppress(AtollError):
            verb(story)
        story.restart_worker()
        remove_everything(story)
