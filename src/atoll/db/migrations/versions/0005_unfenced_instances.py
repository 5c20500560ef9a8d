"""Instances that have to be replaced, but of which it is not proved that they have ended."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision: str = "0005"
down_revision: str | None = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("share_servers", sa.Column("unfenced_instance", sa.String(255)))
