"""Export locations: the paths that clients mount."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from sqlalchemy import Connection, bindparam, select

from atoll.db.rows import Row
from atoll.db.tables import export_locations

_CHUNK: Final = 500
_OF_SHARES = (
    select(export_locations.c.share_id, export_locations.c.path, export_locations.c.is_admin_only)
    .where(export_locations.c.share_id.in_(bindparam("share_ids", expanding=True)))
    .order_by(export_locations.c.preferred.desc(), export_locations.c.path)
)
_OF_SHARE = (
    select(export_locations)
    .where(export_locations.c.share_id == bindparam("share_id"))
    .order_by(export_locations.c.preferred.desc(), export_locations.c.path)
)


def of_share(connection: Connection, share_id: str, *, with_admin_only: bool) -> list[Row]:
    """A share's locations, the preferred one first."""
    found = connection.execute(_OF_SHARE, {"share_id": share_id}).mappings()
    return [dict(row) for row in found if with_admin_only or not row["is_admin_only"]]


def paths(
    connection: Connection, share_ids: Sequence[str], *, with_admin_only: bool
) -> dict[str, list[str]]:
    """The paths of many shares, by share, the preferred one first."""
    found: dict[str, list[str]] = {}
    for start in range(0, len(share_ids), _CHUNK):
        chunk = share_ids[start : start + _CHUNK]
        for share_id, path, admin_only in connection.execute(_OF_SHARES, {"share_ids": chunk}):
            if with_admin_only or not admin_only:
                found.setdefault(share_id, []).append(path)
    return found
