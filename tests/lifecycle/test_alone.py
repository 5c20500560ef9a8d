"""What goes wrong with one thing stops nothing for any other, in no part of the pass."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing

import pytest

from atoll.db import owners
from tests.lifecycle.house import House


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    """Two share servers, with a share each."""
    made = new_house(reconcile_interval=0.3, max_shares_per_share_server=1)
    made.start_worker()
    return made


def instance_of(house: House, share_id: str) -> str:
    server = house.call("GET", f"/shares/{share_id}")["share"]["share_server_id"]
    return str(house.call("GET", f"/share-servers/{server}")["share_server"]["identifier"])


def answers_nonsense(house: House, instance_id: str) -> None:
    """Have looking at an instance end in an error that nobody has foreseen."""
    with closing(sqlite3.connect(house.settings.state_dir / "memory-cloud.sqlite")) as world:
        world.execute("UPDATE instances SET ready_at = 'soon' WHERE id = ?", (instance_id,))
        world.commit()


def leftover(house: House) -> str:
    """A volume of a share that is gone; its id."""
    with house.database.begin() as connection:
        owners.remember(connection, "share/gone")
    return house.cloud.volumes.create_volume("share/gone", 1).id


def test_an_instance_that_nobody_can_look_at(house: House) -> None:
    odd, good = house.create(), house.create()
    house.settled(odd)
    house.settled(good)
    instance, other = instance_of(house, odd), instance_of(house, good)
    assert instance != other
    answers_nonsense(house, instance)
    house.cloud.kill_instance(other)
    volume = leftover(house)
    house.until(lambda: house.cloud.volumes.get_volume(volume) is None, "the leftover to go")
    house.allow(good)
    assert house.settled(good)["access_rules_status"] == "active"
    house.mount(good).write("data", b"served again")
    deleted = house.cloud.journal.calls("delete_instance")  # nothing was known against the odd one
    assert not [call for call in deleted if instance in call.about]


@pytest.mark.parametrize("kind", ["instances", "snapshots", "networks"])
def test_a_kind_that_the_cloud_does_not_list(house: House, kind: str) -> None:
    house.cloud.faults.fail(f"list_{kind}", "CloudError", times=None)
    volume = leftover(house)
    house.until(lambda: house.cloud.volumes.get_volume(volume) is None, "the leftover to go")


def test_a_leftover_that_can_not_be_removed(house: House) -> None:
    stuck = leftover(house)
    with house.database.begin() as connection:
        owners.remember(connection, "share/other")
    other = house.cloud.volumes.create_volume("share/other", 1).id
    house.cloud.faults.fail("delete_volume", "CloudError", times=None, about=stuck)
    house.until(lambda: house.cloud.volumes.get_volume(other) is None, "the other to go")
    assert house.cloud.volumes.get_volume(stuck) is not None
    house.cloud.faults.clear()
    house.until(lambda: house.cloud.volumes.get_volume(stuck) is None, "that one to go")
