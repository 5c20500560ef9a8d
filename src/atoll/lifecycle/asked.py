"""What an operator may ask to be looked at again."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import owners
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound

PERIODIC = ("reconcile/all", "operations/all")
"""Work that comes back by itself, and may be asked for sooner."""


def look_again(connection: Connection, resource: str) -> None:
    """Have ``resource`` (``<type>/<id>``) made what its row says.

    Raises ``Invalid`` for a type that there is none of, and ``NotFound`` for what has no row: there
    is nothing that could be made true.
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
                f"There is no {resource} in the database, so nothing to look at.",
                hint="If the cloud has things of it, 'atoll orphan list' names them.",
            )
    enqueue(connection, resource)
