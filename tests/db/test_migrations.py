"""Migrated schema and tables.py are the same; starting together is safe, and cheap when current."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from atoll.db.database import Database
from atoll.db.migrations import HEAD, upgrade
from atoll.db.migrations.runner import config
from atoll.db.tables import metadata
from atoll.errors import ConfigurationError
from harness import postgres


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/new/atoll.db"
    cluster: postgres.Cluster = request.getfixturevalue("cluster")
    return cluster.new_database()


def test_head_is_the_newest_migration() -> None:
    assert ScriptDirectory.from_config(config()).get_heads() == [HEAD]


def test_the_migrations_make_exactly_the_schema_of_the_tables(database: Database) -> None:
    with database.read() as connection:
        differences = compare_metadata(
            MigrationContext.configure(connection, opts={"compare_type": True}), metadata
        )
    assert differences == []


def test_the_indexes_of_the_queue_are_partial(database: Database) -> None:
    """Which compare_metadata does not see."""
    query = (
        "SELECT sql FROM sqlite_master WHERE name = :name"
        if database.is_sqlite
        else "SELECT indexdef FROM pg_indexes WHERE indexname = :name"
    )
    with database.read() as connection:
        for name in ("uq_operations_active", "ix_operations_claim"):
            definition = connection.execute(text(query), {"name": name}).scalar_one()
            assert "queued" in definition
            assert "running" in definition


def test_many_may_start_at_once(empty_url: str) -> None:
    databases = [Database(empty_url) for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        migrated = list(pool.map(upgrade, databases))
    assert migrated.count(True) == 1
    with databases[0].read() as connection:
        assert connection.execute(text("SELECT count(*) FROM fences")).scalar() == 1
    for database in databases:
        database.close()


def test_a_current_schema_is_recognised_without_alembic(database_url: str) -> None:
    program = (
        "import sys; from atoll.db.database import Database; from atoll.db.migrations import "
        "upgrade; assert not upgrade(Database(sys.argv[1])); assert 'alembic' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program, database_url], check=True)


def test_a_newer_schema_is_refused(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigurationError, match="newer"):
        upgrade(database)


def test_sqlite_files_are_private(tmp_path: Path) -> None:
    database = Database(f"sqlite:///{tmp_path}/state/atoll.db")
    upgrade(database)
    assert (tmp_path / "state").stat().st_mode & 0o777 == 0o700
    for file in (tmp_path / "state").iterdir():
        assert file.stat().st_mode & 0o077 == 0, file
    database.close()
