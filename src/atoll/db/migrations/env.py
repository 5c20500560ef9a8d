"""What alembic runs: migrations over the connection that ``runner`` gives."""

from __future__ import annotations

from alembic import context

from atoll.db.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_server_default=False,
    # the caller has the transaction, and the lock with it
    transactional_ddl=True,
)
context.run_migrations()
