"""Alembic's environment: runs migrations on the connection that ``runner`` provides."""

from __future__ import annotations

from alembic import context

from atoll.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_server_default=False,
    # The caller holds the transaction and the lock.
    transactional_ddl=True,
)
context.run_migrations()
