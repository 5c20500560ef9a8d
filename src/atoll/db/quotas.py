"""Quotas: the limits of a project, and its usage.

Usage is always counted from the rows themselves, so it is always correct. ``reserve`` is called in
the transaction that inserts or extends the row. It holds the project's lock until that transaction
ends, so that two concurrent requests can't both use the last of a quota.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, case, delete, func, insert, select

from atoll.config.service import Quota
from atoll.db import database
from atoll.db.tables import quota_classes, quotas, share_networks, shares, snapshots
from atoll.errors import QuotaExceeded
from atoll.model.states import NetworkStatus

UNLIMITED = -1
DEFAULTS: Mapping[str, int] = Quota().limits()
"""The defaults of the configuration; a deployment's own limits are ``Settings.quota.limits()``."""

OF_SHARE_TYPE = ("shares", "gigabytes", "snapshots", "snapshot_gigabytes", "per_share_gigabytes")
"""Resources that can be limited for one share type; share networks have no type."""

DEFAULT_CLASS = "default"
_UNITS = {"gigabytes": " GiB", "snapshot_gigabytes": " GiB"}


@dataclass(frozen=True, slots=True)
class Scope:
    """Whose quota it is: a project's, one of its users', or a project's for one share type."""

    project_id: str
    user_id: str = ""
    share_type_id: str = ""

    def __str__(self) -> str:
        if self.user_id:
            return f"user {self.user_id}"
        return "the project for this share type" if self.share_type_id else "the project"


def reserve(
    connection: Connection,
    project_id: str,
    user_id: str | None,
    share_type_id: str | None,
    *,
    shares: int = 0,
    gigabytes: int = 0,
    snapshots: int = 0,
    snapshot_gigabytes: int = 0,
    share_networks: int = 0,
    per_share_gigabytes: int = 0,
    defaults: Mapping[str, int] = DEFAULTS,
) -> None:
    """Lock the project, and check that its quotas allow this much more (sizes in GiB).

    Call it in the transaction that inserts the row, before that. ``per_share_gigabytes`` is the
    full size of the share. Raises ``QuotaExceeded``, which names the limit.
    """
    wanted = {
        "shares": shares,
        "gigabytes": gigabytes,
        "snapshots": snapshots,
        "snapshot_gigabytes": snapshot_gigabytes,
        "share_networks": share_networks,
        "per_share_gigabytes": per_share_gigabytes,
    }
    wanted = {resource: amount for resource, amount in wanted.items() if amount > 0}
    database.project_lock(connection, project_id)
    limits = _Limits(connection, project_id, defaults)
    scopes = [Scope(project_id)]
    if user_id:
        scopes.append(Scope(project_id, user_id=user_id))
    if share_type_id:
        scopes.append(Scope(project_id, share_type_id=share_type_id))
    for scope in scopes:
        own = limits.set_for(scope) if scope.user_id or scope.share_type_id else limits.of(scope)
        finite = {name: own[name] for name in wanted if own.get(name, UNLIMITED) != UNLIMITED}
        _check(scope, wanted, finite, usage(connection, scope, only=finite))


def _check(
    scope: Scope, wanted: Mapping[str, int], limits: Mapping[str, int], used: Mapping[str, int]
) -> None:
    """Raise ``QuotaExceeded`` for the first limit that does not allow what is wanted."""
    for resource, limit in limits.items():
        amount = wanted[resource]
        if resource == "per_share_gigabytes" and amount > limit:
            raise QuotaExceeded(
                f"The share would have {amount} GiB; the quota per_share_gigabytes of {scope} "
                f"allows {limit} GiB.",
                hint="Request a smaller share, or ask the administrator for a larger quota.",
            )
        if resource != "per_share_gigabytes" and used[resource] + amount > limit:
            unit = _UNITS.get(resource, "")
            raise QuotaExceeded(
                f"Quota exceeded for {resource}: {scope} may have {limit}{unit}, "
                f"has {used[resource]}{unit} and asks for {amount}{unit} more."
            )


class _Limits:
    """All limits that were set for a project, read with one query."""

    def __init__(
        self, connection: Connection, project_id: str, defaults: Mapping[str, int]
    ) -> None:
        self.defaults = class_limits(connection, DEFAULT_CLASS, defaults)
        self._set: dict[Scope, dict[str, int]] = {}
        columns = (quotas.c.user_id, quotas.c.share_type_id, quotas.c.resource, quotas.c.hard_limit)
        statement = select(*columns).where(quotas.c.project_id == project_id)
        for user, share_type, resource, limit in connection.execute(statement):
            scope = Scope(project_id, user_id=user, share_type_id=share_type)
            self._set.setdefault(scope, {})[resource] = limit

    def set_for(self, scope: Scope) -> Mapping[str, int]:
        """The limits that were set for exactly this scope."""
        return self._set.get(scope, {})

    def of(self, scope: Scope) -> dict[str, int]:
        """The limits of a scope: its own, else the project's, else the defaults."""
        project = Scope(scope.project_id)
        return {**self.defaults, **self.set_for(project), **self.set_for(scope)}


def limits(
    connection: Connection, scope: Scope, defaults: Mapping[str, int] = DEFAULTS
) -> dict[str, int]:
    """The limits by resource; -1 means unlimited."""
    return _Limits(connection, scope.project_id, defaults).of(scope)


def class_limits(
    connection: Connection, class_name: str, defaults: Mapping[str, int] = DEFAULTS
) -> dict[str, int]:
    """The limits of a quota class; the class ``default`` applies where nothing else was set."""
    statement = select(quota_classes.c.resource, quota_classes.c.hard_limit).where(
        quota_classes.c.class_name == class_name
    )
    changed = {row.resource: row.hard_limit for row in connection.execute(statement)}
    return {**defaults, **changed}


def usage(
    connection: Connection, scope: Scope, only: Mapping[str, Any] = DEFAULTS
) -> dict[str, int]:
    """The usage of a scope, counted from the rows, ``only`` for these resources."""
    used = dict.fromkeys(only, 0)
    if "shares" in only or "gigabytes" in only:
        # A share that is being extended counts with its wanted size.
        size = case(
            (shares.c.wanted_size > shares.c.size, shares.c.wanted_size), else_=shares.c.size
        )
        used["shares"], used["gigabytes"] = _count(connection, shares, size, scope)
    if "snapshots" in only or "snapshot_gigabytes" in only:
        used["snapshots"], used["snapshot_gigabytes"] = _count(
            connection, snapshots, snapshots.c.size, scope
        )
    if "share_networks" in only and not scope.share_type_id:
        # A network that is being deleted is hidden from users, so it must not count either.
        used["share_networks"], _ = _count(
            connection,
            share_networks,
            None,
            scope,
            share_networks.c.status != NetworkStatus.DELETING,
        )
    return used


def _count(
    connection: Connection,
    table: Table,
    size: ColumnElement[int] | None,
    scope: Scope,
    *conditions: ColumnElement[bool],
) -> tuple[int, int]:
    """Number of a scope's rows and the sum of their sizes."""
    total = func.coalesce(func.sum(size), 0) if size is not None else func.count()
    statement = select(func.count(), total).where(table.c.project_id == scope.project_id)
    if scope.user_id:
        statement = statement.where(table.c.user_id == scope.user_id)
    if scope.share_type_id and table is shares:
        statement = statement.where(shares.c.share_type_id == scope.share_type_id)
    elif scope.share_type_id:
        statement = statement.join(shares, shares.c.id == table.c.share_id).where(
            shares.c.share_type_id == scope.share_type_id
        )
    number, amount = connection.execute(statement.where(*conditions)).one()
    return int(number), int(amount)


def set_limits(connection: Connection, scope: Scope, new: Mapping[str, int]) -> None:
    """Set limits of a scope; limits of other resources remain."""
    key = {
        "project_id": scope.project_id,
        "user_id": scope.user_id,
        "share_type_id": scope.share_type_id,
    }
    _replace(connection, quotas, key, new)


def set_class_limits(connection: Connection, class_name: str, new: Mapping[str, int]) -> None:
    """Set limits of a quota class; limits of other resources remain."""
    _replace(connection, quota_classes, {"class_name": class_name}, new)


def _replace(
    connection: Connection, table: Table, key: Mapping[str, str], new: Mapping[str, int]
) -> None:
    if not new:
        return
    same = [table.c[name] == value for name, value in key.items()]
    connection.execute(delete(table).where(*same, table.c.resource.in_(list(new))))
    rows = [{**key, "resource": name, "hard_limit": limit} for name, limit in new.items()]
    connection.execute(insert(table), rows)


def reset(connection: Connection, scope: Scope) -> None:
    """Delete a scope's limits; for a project also those of its users and share types."""
    statement = delete(quotas).where(quotas.c.project_id == scope.project_id)
    if scope.user_id:
        statement = statement.where(quotas.c.user_id == scope.user_id)
    if scope.share_type_id:
        statement = statement.where(quotas.c.share_type_id == scope.share_type_id)
    connection.execute(statement)


def forget_share_type(connection: Connection, share_type_id: str) -> None:
    """Delete every project's limits for a share type."""
    connection.execute(delete(quotas).where(quotas.c.share_type_id == share_type_id))
