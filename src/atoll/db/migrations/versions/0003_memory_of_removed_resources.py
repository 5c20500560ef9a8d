"""Records of removed resources."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0003"
down_revision: str | None = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "removals",
        sa.Column("resource", sa.String(length=64), nullable=False),
        sa.Column("removed_at", sa.String(length=26), nullable=False),
        sa.PrimaryKeyConstraint("resource", name=op.f("pk_removals")),
    )
    op.create_index(op.f("ix_removals_removed_at"), "removals", ["removed_at"])
