"""Cures of share servers that an operator has confirmed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0004"
down_revision: str | None = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "share_servers",
        sa.Column("cure_confirmed", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
