"""Tokens and access rules of a restored backup, which are held until the restore is released."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0006"
down_revision: str | None = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for table in ("tokens", "access_rules"):
        op.add_column(
            table, sa.Column("held", sa.Boolean(), server_default=sa.false(), nullable=False)
        )
