"""Runs alembic in a transaction that only one process can have at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, text

from atoll.db import migrations
from atoll.db.database import Database
from atoll.errors import ConfigurationError

_LOCK = 0x61746F6C6C
"""PostgreSQL's advisory lock of a migration ("atoll")."""

_PATIENCE = 600
"""Seconds to wait for another process's migration."""


def config(connection: Connection | None = None) -> Config:
    """Alembic's settings, which replace an alembic.ini."""
    settings = Config()
    settings.set_main_option("script_location", str(migrations.DIRECTORY).replace("%", "%%"))
    settings.attributes["connection"] = connection
    return settings


def run(database: Database) -> bool:
    """Migrate under the lock, unless another process has done so; see ``migrations.upgrade``."""
    with _alone(database) as connection:
        settings = config(connection)
        have = migrations.current(connection)
        if have == migrations.HEAD:
            return False
        known = {one.revision for one in ScriptDirectory.from_config(settings).walk_revisions()}
        if have is not None and have not in known:
            raise ConfigurationError(
                f"The database's schema ({have}) is newer than this version of Atoll.",
                hint="Run the version of Atoll that created it, or a newer one.",
            )
        command.upgrade(settings, migrations.HEAD)
        if database.is_sqlite:
            broken = connection.execute(text("PRAGMA foreign_key_check")).all()
            assert not broken, f"the migration breaks references: {broken[:3]}"
    return True


@contextmanager
def _alone(database: Database) -> Iterator[Connection]:
    with database.engine.connect() as connection:
        if not database.is_sqlite:
            connection.exec_driver_sql(
                f"SET LOCAL lock_timeout = {_PATIENCE * 1000}; SET LOCAL statement_timeout = 0"
            )
            connection.detach()  # it has no time-out, so it must not return to the pool
            connection.connection.dbapi_connection.patience = None  # type: ignore[union-attr]
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
            yield connection
            connection.commit()
            return
        # A batch migration replaces tables, and foreign keys would treat that as deletions. They
        # can't be turned off within a transaction. The connection is not used again.
        connection.detach()
        connection.exec_driver_sql(f"PRAGMA busy_timeout = {_PATIENCE * 1000}")
        connection.exec_driver_sql("PRAGMA foreign_keys = OFF")
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        yield connection
        connection.commit()
