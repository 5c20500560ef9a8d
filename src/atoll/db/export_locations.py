"""Export locations: the paths that clients mount."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, cast
from uuid import uuid4

from sqlalchemy import Boolean, Connection, bindparam, delete, insert, not_, or_, select, update

from atoll.db.database import utcnow_text
from atoll.db.tables import export_locations
from atoll.model.records import ExportLocation

_CHUNK: Final = 500
_OF_SHARES = (
    select(export_locations.c.share_id, export_locations.c.path)
    .where(
        export_locations.c.share_id.in_(bindparam("share_ids", expanding=True)),
        or_(not_(export_locations.c.is_admin_only), bindparam("with_admin_only", type_=Boolean)),
    )
    .order_by(export_locations.c.preferred.desc(), export_locations.c.path)
)
_OF_SHARE = (
    select(export_locations)
    .where(export_locations.c.share_id == bindparam("share_id"))
    .order_by(export_locations.c.preferred.desc(), export_locations.c.path)
)


def of_share(
    connection: Connection, share_id: str, *, with_admin_only: bool
) -> list[ExportLocation]:
    """A share's locations, the preferred one first."""
    found = connection.execute(_OF_SHARE, {"share_id": share_id}).mappings()
    return [
        cast(ExportLocation, dict(row))
        for row in found
        if with_admin_only or not row["is_admin_only"]
    ]


def exist(connection: Connection, share_id: str) -> bool:
    """Whether a share has export locations; it has them once it has been created completely."""
    return bool(of_share(connection, share_id, with_admin_only=True))


def paths(
    connection: Connection, share_ids: Sequence[str], *, with_admin_only: bool
) -> dict[str, list[str]]:
    """The paths of many shares, by share, the preferred one first."""
    found: dict[str, list[str]] = {}
    for start in range(0, len(share_ids), _CHUNK):
        chunk = share_ids[start : start + _CHUNK]
        wanted = {"share_ids": chunk, "with_admin_only": with_admin_only}
        for share_id, path in connection.execute(_OF_SHARES, wanted).all():
            found.setdefault(share_id, []).append(path)
    return found


def replace(connection: Connection, share_id: str, locations: Sequence[Mapping[str, Any]]) -> None:
    """Replace a share's export locations by these, which have the driver's format.

    A location is ``{"path", "is_admin_only", "metadata": {"preferred": bool}}``. A path that is
    known keeps its id, because clients remember it.
    """
    known = {row["path"]: row for row in of_share(connection, share_id, with_admin_only=True)}
    wanted = {str(location["path"]): location for location in locations}
    gone = [row["id"] for path, row in known.items() if path not in wanted]
    if gone:
        connection.execute(delete(export_locations).where(export_locations.c.id.in_(gone)))
    for path, location in wanted.items():
        values = {
            "preferred": bool(location.get("metadata", {}).get("preferred", False)),
            "is_admin_only": bool(location["is_admin_only"]),
        }
        row = known.get(path)
        if row is None:
            key = {"id": str(uuid4()), "share_id": share_id, "path": path}
            connection.execute(
                insert(export_locations).values(**key, **values, created_at=utcnow_text())
            )
        elif {name: row.get(name) for name in values} != values:
            connection.execute(
                update(export_locations)
                .where(export_locations.c.id == row["id"])
                .values(**values, updated_at=utcnow_text())
            )
