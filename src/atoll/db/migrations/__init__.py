"""Brings a database's schema to this version: ``upgrade(database)``, safe from any process.

The migrations are alembic's, in ``versions/``. To write the next one, change ``tables.py``, run
``python -m atoll.db.migrations "what changes"``, read the result, and set ``HEAD``. At start, one
query without alembic finds out whether a migration is needed.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from atoll.db.database import Database

HEAD = "0007"
"""The newest migration. A test compares it with ``versions/``."""

DIRECTORY = Path(__file__).parent


def current(connection: Connection) -> str | None:
    """The migration that the database has; None for an empty database."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    version: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar()
    return version


def upgrade(database: Database) -> bool:
    """Migrate to ``HEAD``; return whether a migration was needed.

    When several processes start at once, one migrates and the others wait for it. Raises
    ConfigurationError if the database belongs to a newer version of Atoll.
    """
    with database.read() as connection:
        if current(connection) == HEAD:
            return False
    from atoll.db.migrations.runner import run  # alembic is slow to import, and rarely needed

    return run(database)
