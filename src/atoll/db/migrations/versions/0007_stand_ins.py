"""Warm share servers whose instances stand in for the lost ones of other servers."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0007"
down_revision: str | None = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("share_servers", sa.Column("stands_in_for", sa.String(36)))
    op.create_index("ix_share_servers_stands_in_for", "share_servers", ["stands_in_for"])
