"""A worker notices that its database is older than it was."""

from __future__ import annotations

import stat
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Table, delete, insert, select

from atoll.cloud.memory import MemoryCloud
from atoll.db import facts, owners, restores
from atoll.db.database import Database
from atoll.db.tables import deployment, removals
from atoll.lifecycle import hold, witness
from atoll.lifecycle.orphans import Orphans
from atoll.lifecycle.witness import Witness


class Facts:
    """Backups of the facts in a database, which are all that a witness looks at."""

    def __init__(self, database: Database) -> None:
        self.database = database
        with database.begin() as connection:
            facts.put(connection, "id", "d1")

    def backup(self) -> list[dict[str, Any]]:
        with self.database.read() as connection:
            return [dict(row) for row in connection.execute(select(deployment)).mappings()]

    def restore(self, rows: list[dict[str, Any]], table: Table = deployment) -> None:
        with self.database.begin() as connection:
            connection.execute(delete(table))
            connection.execute(insert(table), rows)

    def release(self) -> None:
        with self.database.begin() as connection:
            restores.release(connection, keep_tokens=True, orphans=())


@pytest.fixture
def old(database: Database) -> Facts:
    return Facts(database)


def test_an_older_database_is_noticed_once(old: Facts, tmp_path: Path) -> None:
    one = Witness(old.database, tmp_path / "witness")
    assert not one.look()
    backup = old.backup()
    assert one.look()
    assert not hold.is_held(old.database)
    old.restore(backup)
    again = Witness(old.database, tmp_path / "witness")  # of a new process
    again.look()
    assert hold.is_held(old.database)
    old.release()
    again.look()
    one.look()
    assert not hold.is_held(old.database)


def test_other_workers_hide_nothing_and_do_not_notice_it_again(old: Facts, tmp_path: Path) -> None:
    one, other = (Witness(old.database, tmp_path / name) for name in ("one", "other"))
    one.look()
    other.look()
    backup = old.backup()
    one.look()
    other.look()
    old.restore(backup)
    new = Witness(old.database, tmp_path / "new")
    for _ in range(5):  # a new host works with the restored database first
        new.look()
    assert not hold.is_held(old.database)
    one.look()
    assert hold.is_held(old.database)
    old.release()
    other.look()  # a host that was switched off until now
    assert not hold.is_held(old.database)


def test_a_backup_from_before_an_earlier_restore(old: Facts, tmp_path: Path) -> None:
    one = Witness(old.database, tmp_path / "witness")
    one.look()
    first = old.backup()
    with old.database.begin() as connection:
        restores.begin(connection, "An operator has said so.")
    old.release()
    for _ in range(3):
        one.look()
    old.restore(first)
    one.look()
    assert hold.is_held(old.database)


def test_a_restore_during_a_hold_is_another_one(old: Facts, tmp_path: Path) -> None:
    one = Witness(old.database, tmp_path / "witness")
    one.look()
    with old.database.begin() as connection:
        first = restores.begin(connection, "An operator has said so.")
        assert restores.begin(connection, "And again.") == first
    one.look()
    backup = old.backup()
    one.look()
    old.restore(backup)
    one.look()
    with old.database.read() as connection:
        assert restores.held(connection) not in (None, first)
        assert len(restores.every(connection)) == 2


@pytest.mark.parametrize("content", [b"", b"{}", b"\0" * 50])
def test_a_file_that_is_lost_or_damaged_is_made_again(
    old: Facts, tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "witness"
    one = Witness(old.database, file)
    one.look()
    file.write_bytes(content)
    assert not one.look()
    assert one.look()
    file.unlink()
    assert not one.look()
    assert not hold.is_held(old.database)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [each.name for each in tmp_path.iterdir()] == ["witness"]


def test_another_deployment_is_not_compared(old: Facts, tmp_path: Path) -> None:
    one = Witness(old.database, tmp_path / "witness")
    for _ in range(3):
        one.look()
    old.restore([{"key": "id", "value": "d2"}])
    assert not one.look()
    assert not hold.is_held(old.database)


def test_owners_that_the_database_has_never_known(old: Facts) -> None:
    cloud = MemoryCloud("d1")

    def note() -> bool:
        found = Orphans(cloud, old.database).find()
        with old.database.begin() as connection:
            return witness.note_unknown(connection, found)

    cloud.volumes.create_volume("share/kept-by-an-operator", 1)
    assert not note()  # the first comparison
    with old.database.begin() as connection:
        owners.remember(connection, "share/leftover")
    cloud.volumes.create_volume("share/leftover", 1)
    cloud.volumes.create_volume("something-of-an-operator", 1)
    assert not note()
    with old.database.begin() as connection:
        connection.execute(delete(removals))
    assert not note()  # the memory of a removal has ended, and the leftover was there before
    cloud.faults.fail("list_volumes", "CloudError")
    assert not note()
    assert not note()
    cloud.volumes.create_volume("share/unknown", 1)
    assert note()
    with old.database.read() as connection:
        restore = restores.held(connection)
    assert restore is not None
    assert "share/unknown" in restore.why
    assert "share/leftover" not in restore.why
