"""Quotas: counted from the rows, and never overrun, however many ask at once."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest
from sqlalchemy import Connection, insert

from atoll.db import quotas, share_types
from atoll.db.database import Database, utcnow_text
from atoll.db.quotas import Scope
from atoll.db.tables import shares
from atoll.errors import QuotaExceeded
from tests import rows
from tests.api import scene


@pytest.fixture
def type_id(database: Database) -> str:
    with database.begin() as connection:
        made = share_types.create(connection, "default", {"driver_handles_share_servers": "True"})
    return str(made["id"])


def take(connection: Connection, type_id: str, number: int, size: int = 1) -> None:
    """What creating a share does."""
    quotas.reserve(
        connection, "blue", "ann", type_id, shares=1, gigabytes=size, per_share_gigabytes=size
    )
    rows.add(connection, shares, **share_row(type_id, number, size))


def share_row(type_id: str, number: int, size: int = 1) -> dict[str, object]:
    return {
        "id": f"{number:036}",
        "project_id": "blue",
        "user_id": "ann",
        "size": size,
        "share_proto": "NFS",
        "status": "creating",
        "access_rules_status": "active",
        "share_type_id": type_id,
        "is_public": False,
        "metadata": {},
        "options": {},
        "created_at": utcnow_text(),
    }


def test_twenty_at_once_and_five_get_through(database: Database, type_id: str) -> None:
    with database.begin() as connection:
        quotas.set_limits(connection, Scope("blue"), {"shares": 5})
    start = Barrier(20)

    def one(number: int) -> bool:
        start.wait()
        try:
            with database.begin() as connection:
                take(connection, type_id, number)
        except QuotaExceeded:
            return False
        return True

    with ThreadPoolExecutor(20) as pool:
        assert sum(pool.map(one, range(20))) == 5
    with database.read() as connection:
        assert quotas.usage(connection, Scope("blue"))["shares"] == 5


@pytest.mark.parametrize(
    ("scope", "limits", "words"),
    [
        (Scope("blue"), {"shares": 0}, ["shares", "may have 0, has 0", "1 more"]),
        (Scope("blue"), {"gigabytes": 9}, ["gigabytes", "9 GiB", "10 GiB more"]),
        (Scope("blue"), {"per_share_gigabytes": 9}, ["10 GiB", "allows 9 GiB"]),
        (Scope("blue", user_id="ann"), {"shares": 0}, ["user ann"]),
        (Scope("blue", share_type_id="TYPE"), {"gigabytes": 5}, ["share type", "5 GiB"]),
    ],
)
def test_the_sentence_says_which_quota(
    database: Database, type_id: str, scope: Scope, limits: dict[str, int], words: list[str]
) -> None:
    if scope.share_type_id:
        scope = Scope("blue", share_type_id=type_id)
    with database.begin() as connection:
        quotas.set_limits(connection, scope, limits)
    with pytest.raises(QuotaExceeded) as caught, database.begin() as connection:
        take(connection, type_id, 1, size=10)
    for word in words:
        assert word in str(caught.value)


def test_limits_of_others_do_not_count(database: Database, type_id: str) -> None:
    with database.begin() as connection:
        quotas.set_limits(connection, Scope("red"), {"shares": 0})
        quotas.set_limits(connection, Scope("blue", user_id="bob"), {"shares": 0})
        quotas.set_limits(connection, Scope("blue", share_type_id="other"), {"shares": 0})
        take(connection, type_id, 1)


def test_an_extending_share_counts_with_its_wanted_size(database: Database, type_id: str) -> None:
    with database.begin() as connection:
        quotas.set_limits(connection, Scope("blue"), {"gigabytes": 10})
        take(connection, type_id, 1, size=4)
        quotas.reserve(connection, "blue", "ann", type_id, gigabytes=4, per_share_gigabytes=8)
        rows.change(connection, shares, f"{1:036}", wanted_size=8, status="extending")
    with pytest.raises(QuotaExceeded), database.begin() as connection:
        take(connection, type_id, 2, size=3)
    with database.begin() as connection:
        rows.change(connection, shares, f"{1:036}", size=8, wanted_size=None)
        take(connection, type_id, 3, size=2)


def test_snapshots_count_for_their_shares_type(database: Database, type_id: str) -> None:
    share = scene.add_share(database, "blue", share_type_id=type_id, size=3)
    scene.add_snapshot(database, "blue", share, size=3)
    with database.read() as connection:
        used = quotas.usage(connection, Scope("blue", share_type_id=type_id))
        other = quotas.usage(connection, Scope("blue", share_type_id="other"))
    assert (used["snapshots"], used["snapshot_gigabytes"]) == (1, 3)
    assert (other["snapshots"], other["snapshot_gigabytes"], other["shares"]) == (0, 0, 0)


def test_defaults_then_class_then_project_then_user(database: Database) -> None:
    scope = Scope("blue", user_id="ann")
    with database.begin() as connection:
        seen = [quotas.limits(connection, scope, {"shares": 1})["shares"]]
        quotas.set_class_limits(connection, "default", {"shares": 2})
        seen.append(quotas.limits(connection, scope, {"shares": 1})["shares"])
        quotas.set_limits(connection, Scope("blue"), {"shares": 3})
        seen.append(quotas.limits(connection, scope, {"shares": 1})["shares"])
        quotas.set_limits(connection, scope, {"shares": 4})
        seen.append(quotas.limits(connection, scope, {"shares": 1})["shares"])
        quotas.reset(connection, Scope("blue"))
        seen.append(quotas.limits(connection, scope, {"shares": 1})["shares"])
    assert seen == [1, 2, 3, 4, 2]


def test_reserving_among_a_thousand_shares_is_cheap(database: Database, type_id: str) -> None:
    """A reservation costs hardly more than in a project without shares."""
    with database.begin() as connection:
        connection.execute(insert(shares), [share_row(type_id, n) for n in range(1000)])
    generous = {"shares": 5000, "gigabytes": 5000, "per_share_gigabytes": 10}
    with database.begin() as connection:
        for project in ("green", "blue"):
            quotas.set_limits(connection, Scope(project), generous)

        def reserve(project: str) -> float:
            start = time.thread_time()
            for _ in range(10):
                quotas.reserve(
                    connection,
                    project,
                    "ann",
                    type_id,
                    shares=1,
                    gigabytes=1,
                    per_share_gigabytes=1,
                )
            return time.thread_time() - start

        # Alternating, so that both are measured while the machine is equally busy.
        found = [(reserve("green"), reserve("blue")) for _ in range(8)]
    without, among = (min(times) for times in zip(*found, strict=True))
    assert among < 3 * without
