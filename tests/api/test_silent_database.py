"""The API while its database does not answer, and does not even say so."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from harness import postgres
from harness.wait import wait
from tests.api.live import Api, live
from tests.frozen import FreezableProxy, freezable_proxy
from tests.programs import need_postgres

pytestmark = pytest.mark.postgres

ANSWERS_WITHIN = 9.0
"""A statement's time (here 2 s), its grace and a loaded machine."""


@pytest.fixture
def way() -> Iterator[FreezableProxy]:
    cluster = postgres.Cluster(need_postgres())
    try:
        with freezable_proxy(cluster.new_database()) as made:
            yield made
    finally:
        cluster.remove()


@pytest.fixture
def api(way: FreezableProxy, tmp_path: Path) -> Iterator[Api]:
    with live(tmp_path, url=way.url, database__timeout=2) as running:
        yield running
        way.thaw()


def test_a_silent_host_is_503_in_seconds_and_health_checks_answer_at_once(
    way: FreezableProxy, api: Api
) -> None:
    assert api.ask("/v2/shares")[0] == 200
    way.freeze()
    with ThreadPoolExecutor(40) as pool:
        begun = time.monotonic()
        asked = [pool.submit(api.ask, "/v2/shares") for _ in range(30)]
        probes = [api.ask("/healthcheck", method) for method in ("GET", "HEAD", "OPTIONS") * 3]
        answers = [one.result() for one in asked]
    assert {status for status, _, _ in answers} == {503}
    assert time.monotonic() - begun < 2 * ANSWERS_WITHIN
    assert max(seconds for _, _, seconds in answers) < ANSWERS_WITHIN
    assert {status for status, _, _ in probes} == {503}
    assert max(seconds for _, _, seconds in probes) < 1.5
    assert json.loads(probes[0][1])["database"] == "unreachable"
    # what comes later does not wait for it again
    assert api.ask("/v2/shares")[2] < ANSWERS_WITHIN
    way.thaw()
    wait("the database to be used again", lambda: api.ask("/v2/shares")[0] == 200, 30)


def test_a_statement_that_takes_too_long_is_given_up(way: FreezableProxy) -> None:
    from sqlalchemy import text
    from sqlalchemy.exc import OperationalError

    from atoll.db.database import Database, is_transient

    database = Database(way.url, timeout=1)
    with database.read() as connection, pytest.raises(OperationalError) as raised:
        connection.execute(text("SELECT pg_sleep(30)"))
    assert is_transient(raised.value)
    with database.read() as connection:
        assert connection.execute(text("SELECT 1")).scalar_one() == 1
    database.close()
