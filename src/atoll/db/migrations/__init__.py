"""Brings a database's schema to this version: ``upgrade(database)``, safe from any process.

The migrations are alembic's, in ``versions/``. To write the next one: change ``tables.py``, run
``python -m atoll.db.migrations "what changes"``, read what it wrote, and set ``HEAD``. Whether
there is anything to do at start is found with one query, without alembic.
"""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, text

from atoll.db.database import Database

HEAD = "0003"
"""The newest migration. A test holds this equal to what ``versions/`` has."""

DIRECTORY = Path(__file__).parent


def current(connection: Connection) -> str | None:
    """The migration that the database has; None for an empty one."""
    if not connection.dialect.has_table(connection, "alembic_version"):
        return None
    version: str | None = connection.execute(
        text("SELECT version_num FROM alembic_version")
    ).scalar()
    return version


def upgrade(database: Database) -> bool:
    """Migrate to ``HEAD``; returns whether there was anything to do.

    When several processes start at once, one migrates and the others wait for it. Raises
    ConfigurationError if the database belongs to a newer version of Atoll.
    """
    with database.read() as connection:
        if current(connection) == HEAD:
            return False
    from atoll.db.migrations.runner import run  # alembic is slow to import, and hardly needed

    return run(database)
