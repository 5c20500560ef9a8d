"""A clock that was wrong, a long time without Atoll: what was written down then harms nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from falcon.testing import TestClient
from sqlalchemy import update

from atoll.api.app import create_app
from atoll.db.tables import operations, services, share_servers
from tests.lifecycle.house import House
from tests.lifecycle.operator import Operator


@pytest.fixture
def house(new_house: Callable[..., House]) -> House:
    return new_house(reconcile_interval=0.3)


@pytest.mark.parametrize(
    "ago", [timedelta(days=1, hours=1), timedelta(days=20), -timedelta(hours=2)]
)
def test_what_failed_is_tried_again_whenever_that_was(house: House, ago: timedelta) -> None:
    """Also after a day, or a month, without Atoll, and if the clock was ahead."""
    house.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    house.start_worker()
    share_id = house.create()
    assert house.settled(share_id)["status"] == "error"
    house.stop_workers()
    house.cloud.faults.clear()
    then = (datetime.now(UTC) - ago).replace(tzinfo=None).isoformat(timespec="microseconds")
    with house.database.begin() as connection:
        connection.execute(
            update(operations).where(operations.c.status == "failed").values(finished_at=then)
        )
        # what a killed worker had in hand would be done as well
        connection.execute(
            update(operations)
            .where(operations.c.resource == f"share/{share_id}", operations.c.status != "failed")
            .values(status="failed", finished_at=then)
        )
        connection.exec_driver_sql("UPDATE shares SET status = 'error'")
    house.start_worker()
    house.until(lambda: house.share(share_id)["status"] == "available", "another try")


def test_a_sign_of_life_in_the_future_is_none(house: House) -> None:
    http = TestClient(create_app(house.settings, house.database))
    house.start_worker()
    house.until(lambda: http.simulate_get("/healthcheck").status_code == 200, "a sign of life")
    house.stop_workers()
    with house.database.begin() as connection:
        connection.execute(update(services).values(heartbeat=services.c.heartbeat + 7200))
    answer = http.simulate_get("/healthcheck")
    assert answer.status_code == 503
    assert answer.json["worker"] == "down"
    [service] = house.call("GET", "/services")["services"]
    assert service["state"] == "down"
    house.start_worker()
    house.until(lambda: http.simulate_get("/healthcheck").status_code == 200, "a sign of life")


def test_the_doctor_names_what_is_from_the_future(house: House) -> None:
    operator = Operator(house)
    house.start_worker()
    house.settled(house.create())
    house.until(lambda: operator.finding("Clocks").get("ok"), "all to be well")
    house.stop_workers()
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(tzinfo=None)
    with house.database.begin() as connection:
        connection.execute(update(services).values(heartbeat=services.c.heartbeat + 7200))
        connection.execute(
            update(operations)
            .where(operations.c.resource == "operations/all")
            .values(status="queued", not_before=operations.c.not_before + 7200)
        )
        connection.execute(
            update(operations)
            .where(operations.c.resource.like("share/%"))
            .values(finished_at=later.isoformat(timespec="microseconds"))
        )
    found = operator.finding("Clocks")
    assert not found["ok"]
    for words in ("heartbeat", "operations/all is planned", "an operation's end was written at"):
        assert words in found["detail"]
    assert "NTP" in found["todo"]


def test_a_server_that_was_idle_in_the_future_is_removed_in_time(
    new_house: Callable[..., House],
) -> None:
    house = new_house(reconcile_interval=0.3, unused_share_server_cleanup_interval=3)
    house.start_worker()
    share_id = house.create()
    house.settled(share_id)
    house.call("DELETE", f"/shares/{share_id}")
    house.gone("shares")
    with house.database.begin() as connection:
        connection.execute(update(share_servers).values(idle_since=4e9))
    house.gone("share-servers")


def test_a_server_that_fell_silent_in_the_future_is_brought_back_in_time(
    new_house: Callable[..., House],
) -> None:
    house = new_house(reconcile_interval=0.3, replace_dead_after=1)
    house.start_worker()
    share_id = house.create()
    house.settled(share_id)
    house.allow(share_id)
    house.settled(share_id)
    server_id = house.share(share_id)["share_server_id"]
    server = house.call("GET", f"/share-servers/{server_id}")["share_server"]
    house.stop_workers()
    house.cloud.hang_instance(server["identifier"])
    with house.database.begin() as connection:
        connection.execute(update(share_servers).values(unhealthy_since=4e9))
    house.start_worker()
    house.until(lambda: house.cloud.journal.count("reboot_instance"), "a reset")
    house.mount(share_id).write("data", b"served again")
