"""Operations that an operator may request by ``atoll operation retry``."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import owners
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound

PERIODIC = ("reconcile/all", "operations/all")
"""Periodic operations, which may be requested earlier."""


def look_again(connection: Connection, resource: str) -> None:
    """Queue the operation of ``resource`` (``<type>/<id>``) to run now.

    Raises ``Invalid`` for an unknown type, and ``NotFound`` if the resource has no row.
    """
    kind, _, row_id = resource.partition("/")
    if resource not in PERIODIC:
        if kind not in owners.RESOURCES or not row_id:
            raise Invalid(
                f"{resource} names no resource.",
                hint=f"A resource is <type>/<id>, and the type one of "
                f"{', '.join(owners.RESOURCES)}; or it is {' or '.join(PERIODIC)}.",
            )
        if not owners.exists(connection, resource):
            raise NotFound(
                f"There is no {resource} in the database.",
                hint="If the cloud has things of it, 'atoll orphan list' names them.",
            )
    enqueue(connection, resource)
