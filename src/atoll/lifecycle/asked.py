"""Operations that an operator may request by ``atoll operation retry``."""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.db import owners
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound

PERIODIC = ("reconcile/all", "operations/all")
"""Periodic operations, which may be requested earlier."""


def request_now(connection: Connection, resource: str) -> None:
    """Queue the operation of ``resource`` (``<type>/<id>``) to run now.

    Raises ``Invalid`` for an unknown type, and ``NotFound`` if the resource has no row.
    """
    kind, _, row_id = resource.partition("/")
    if resource not in PERIODIC:
        if kind not in owners.RESOURCES or not row_id:
            raise Invalid(
                f"{resource} is not the name of a resource.",
                hint=f"Give <type>/<id>, where the type is one of "
                f"{', '.join(owners.RESOURCES)}; or give {' or '.join(PERIODIC)}.",
            )
        if not owners.exists(connection, resource):
            raise NotFound(
                f"There is no {resource} in the database.",
                hint="If it still has resources in the cloud, 'atoll orphan list' shows them.",
            )
    enqueue(connection, resource)
