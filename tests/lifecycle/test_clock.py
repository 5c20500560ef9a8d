"""A clock that was wrong, a long time without Atoll: what was written down then harms nobody."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from falcon.testing import TestClient
from sqlalchemy import update

from atoll.api.app import create_app
from atoll.db.tables import operations, services, share_servers
from harness.memory_deployment import MemoryDeployment
from tests.lifecycle.operator import Operator


@pytest.fixture
def deployment(new_deployment: Callable[..., MemoryDeployment]) -> MemoryDeployment:
    return new_deployment(reconcile_interval=0.3)


@pytest.mark.parametrize(
    "ago", [timedelta(days=1, hours=1), timedelta(days=20), -timedelta(hours=2)]
)
def test_what_failed_is_tried_again_whenever_that_was(
    deployment: MemoryDeployment, ago: timedelta
) -> None:
    """Also after a day, or a month, without Atoll, and if the clock was ahead."""
    deployment.cloud.faults.fail("create_volume", "OutOfCapacity", times=None)
    deployment.start_worker()
    share_id = deployment.create()
    assert deployment.settled(share_id)["status"] == "error"
    deployment.stop_workers()
    deployment.cloud.faults.clear()
    then = (datetime.now(UTC) - ago).replace(tzinfo=None).isoformat(timespec="microseconds")
    with deployment.database.begin() as connection:
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
    deployment.start_worker()
    deployment.until(lambda: deployment.share(share_id)["status"] == "available", "another try")


def test_a_sign_of_life_in_the_future_is_none(deployment: MemoryDeployment) -> None:
    http = TestClient(create_app(deployment.settings, deployment.database))
    deployment.start_worker()
    deployment.until(lambda: http.simulate_get("/healthcheck").status_code == 200, "a sign of life")
    deployment.stop_workers()
    with deployment.database.begin() as connection:
        connection.execute(update(services).values(heartbeat=services.c.heartbeat + 7200))
    answer = http.simulate_get("/healthcheck")
    assert answer.status_code == 503
    assert answer.json["worker"] == "down"
    [service] = deployment.call("GET", "/services")["services"]
    assert service["state"] == "down"
    deployment.start_worker()
    deployment.until(lambda: http.simulate_get("/healthcheck").status_code == 200, "a sign of life")


def test_the_doctor_names_what_is_from_the_future(deployment: MemoryDeployment) -> None:
    operator = Operator(deployment)
    deployment.start_worker()
    deployment.settled(deployment.create())
    deployment.until(lambda: operator.finding("Clocks").get("ok"), "all to be well")
    deployment.stop_workers()
    later = (datetime.now(UTC) + timedelta(hours=2)).replace(tzinfo=None)
    with deployment.database.begin() as connection:
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
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3, unused_share_server_cleanup_interval=3)
    deployment.start_worker()
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.call("DELETE", f"/shares/{share_id}")
    deployment.gone("shares")
    with deployment.database.begin() as connection:
        connection.execute(update(share_servers).values(idle_since=4e9))
    deployment.gone("share-servers")


def test_a_server_that_fell_silent_in_the_future_is_brought_back_in_time(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3, replace_dead_after=1)
    deployment.start_worker()
    share_id = deployment.create()
    deployment.settled(share_id)
    deployment.allow(share_id)
    deployment.settled(share_id)
    server_id = deployment.share(share_id)["share_server_id"]
    server = deployment.call("GET", f"/share-servers/{server_id}")["share_server"]
    deployment.stop_workers()
    deployment.cloud.hang_instance(server["identifier"])
    with deployment.database.begin() as connection:
        connection.execute(update(share_servers).values(unhealthy_since=4e9))
    deployment.start_worker()
    deployment.until(lambda: deployment.cloud.journal.count("reboot_instance"), "a reset")
    deployment.mount(share_id).write("data", b"served again")
