"""Placement of a new share: its hints, and the share server with room for it.

The caller holds a lock on the share network's subnet while it chooses the server.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final, cast

from sqlalchemy import ColumnElement, Connection, and_, exists, func, or_, select, true, update

from atoll.db import shares as share_rows
from atoll.db.database import time_text
from atoll.db.tables import share_servers, share_types, shares
from atoll.model.records import Share, ShareServer
from atoll.model.states import SERVERS_WITH_A_FUTURE, ServerStatus

SAME_HOST: Final = "__affinity_same_host"
DIFFERENT_HOST: Final = "__affinity_different_host"
"""Metadata keys that name the shares whose host a share must use, or must avoid."""


def candidates(connection: Connection, subnet_id: str, host: str) -> list[ShareServer]:
    """Servers that may take a share, each with ``share_count``; active and full ones come first.

    Servers that do not answer (``unhealthy_since``) are left out.
    """
    count = func.count(shares.c.id).label("share_count")
    statement = (
        select(share_servers, count)
        .outerjoin(shares, shares.c.share_server_id == share_servers.c.id)
        .where(
            share_servers.c.share_network_subnet_id == subnet_id,
            share_servers.c.host == host,
            share_servers.c.status.in_(SERVERS_WITH_A_FUTURE),
            share_servers.c.unhealthy_since.is_(None),
        )
        .group_by(share_servers.c.id)
        .order_by(share_servers.c.status, count.desc(), share_servers.c.created_at)
    )
    found = connection.execute(statement).mappings()
    return [cast(ShareServer, dict(row)) for row in found]


def _warm(host: str) -> tuple[ColumnElement[bool], ...]:
    return (
        share_servers.c.host == host,
        share_servers.c.share_network_subnet_id.is_(None),
        share_servers.c.status.in_(SERVERS_WITH_A_FUTURE),
        share_servers.c.stands_in_for.is_(None),
    )


def take_warm(connection: Connection, host: str, image: str | None = None) -> ShareServer | None:
    """A warm server that is ready for a share network; its row is locked.

    With ``image``, it is one whose instance has booted this image.
    """
    booted = share_servers.c.backend_details["image_id"].as_string()
    lender = share_servers.alias()
    borrows = exists().where(lender.c.stands_in_for == share_servers.c.id)
    statement = (
        select(share_servers)
        .where(*_warm(host), share_servers.c.status == ServerStatus.ACTIVE)
        .where(share_servers.c.unhealthy_since.is_(None))
        .where(~borrows, true() if image is None else booted == image)
        .order_by(share_servers.c.created_at)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    found = connection.execute(statement).mappings().first()
    return None if found is None else cast(ShareServer, dict(found))


def count_warm(connection: Connection, host: str, pause: float) -> int:
    """How many servers are warm or becoming so, and have no share network yet.

    One that is just taking the place of another counts too, and for ``pause`` seconds since it was
    chosen, so that no boot competes with that and with the clients that come back.
    """
    silent = select(share_servers.c.id).where(share_servers.c.unhealthy_since.is_not(None))
    stands_in_for = share_servers.c.stands_in_for
    is_recent = and_(
        stands_in_for.is_not(None), share_servers.c.updated_at > time_text(time.time() - pause)
    )
    taking = and_(share_servers.c.host == host, or_(stands_in_for.in_(silent), is_recent))
    wanted = or_(and_(*_warm(host)), taking)
    return connection.execute(select(func.count()).where(wanted)).scalar_one()


def extra_specs(connection: Connection, share_type_id: str) -> dict[str, str]:
    """A share type's extra specs."""
    statement = select(share_types.c.extra_specs).where(share_types.c.id == share_type_id)
    found: dict[str, str] = connection.execute(statement).scalar_one()
    return found


def hosts_of_hints(connection: Connection, share: Share) -> tuple[set[str], set[str]]:
    """Pools of the shares whose host this share must use, and of those whose host it must avoid.

    Both shares have the hint in their metadata, so the one that is placed first determines the
    other's host. All these shares are locked, because two that are placed at once would not see
    each other. The metadata is read again under the lock, because another share may have added
    itself since. A share that is not placed yet, or is deleted, has no effect.
    """
    locked: dict[str, Share] = {}
    near, away = (hinted(share["metadata"], key) for key in (SAME_HOST, DIFFERENT_HOST))
    wanted = {share["id"], *near, *away}
    while wanted - locked.keys():
        found = connection.execute(
            select(shares.c.id, shares.c.host, shares.c["metadata"])
            .where(shares.c.id.in_(sorted(wanted)))
            .order_by(shares.c.id)
            .with_for_update()
        ).mappings()
        locked = {each: {} for each in wanted}
        locked |= {row["id"]: cast(Share, dict(row)) for row in found}
        metadata = locked[share["id"]].get("metadata", {})
        near, away = (hinted(metadata, key) for key in (SAME_HOST, DIFFERENT_HOST))
        wanted = {share["id"], *near, *away}
    hosts = {each: host for each, row in locked.items() if (host := row.get("host"))}
    return {hosts[each] for each in near if each in hosts}, {
        hosts[each] for each in away if each in hosts
    }


def hinted(metadata: Mapping[str, str], key: str) -> list[str]:
    """Ids of the shares that a scheduler hint in a share's metadata names."""
    return [each for each in metadata.get(key, "").split(",") if each]


def keep_hints(connection: Connection, share: Share) -> None:
    """Add a share's hints to the metadata of the shares that they name, as Manila does."""
    _change_hints(connection, share, lambda known: [*known, share["id"]])


def forget_hints(connection: Connection, share: Share) -> None:
    """Remove a deleted share from the hints of the shares that name it."""
    _change_hints(connection, share, lambda known: [each for each in known if each != share["id"]])


def _change_hints(
    connection: Connection, share: Share, change: Callable[[list[str]], list[str]]
) -> None:
    by_key = {key: hinted(share["metadata"], key) for key in (SAME_HOST, DIFFERENT_HOST)}
    others = {each for ids in by_key.values() for each in ids}
    if not others:
        return
    for share_id in sorted({share["id"], *others}):  # locks are always taken in this order
        other = share_rows.lock(connection, share_id)
        if other is None or share_id == share["id"]:
            continue
        metadata = dict(other["metadata"])
        for key, ids in by_key.items():
            if share_id in ids:
                metadata[key] = ",".join(dict.fromkeys(change(hinted(metadata, key))))
                if not metadata[key]:
                    del metadata[key]
        share_rows.change(connection, share_id, metadata=metadata)


def name_pools_alike(connection: Connection, host: str, known: str, name: str) -> int:
    """Rename a back end's pool from ``known`` to ``name`` in its shares; return how many."""
    statement = update(shares).where(shares.c.host == f"{host}#{known}")
    return connection.execute(statement.values(host=f"{host}#{name}")).rowcount


def count_shares(connection: Connection, server_id: str) -> int:
    """How many shares a server has, whatever their state."""
    statement = select(func.count()).where(shares.c.share_server_id == server_id)
    return connection.execute(statement).scalar_one()
