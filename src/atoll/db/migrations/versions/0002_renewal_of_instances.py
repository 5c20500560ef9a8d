"""Renewal of instances."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0002"
down_revision: str | None = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column(
        "share_servers",
        sa.Column("renewal_wanted", sa.Boolean(), server_default=sa.false(), nullable=False),
    )
