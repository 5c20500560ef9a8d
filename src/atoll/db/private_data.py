"""The driver's private data about resources: keys and values. The caller encrypts secrets."""

from __future__ import annotations

from collections.abc import Mapping

from sqlalchemy import Connection, delete, insert, select

from atoll.db.tables import driver_private_data as data


def read(connection: Connection, resource: str) -> dict[str, tuple[str, bool]]:
    """All values of a resource by key, each with whether it is encrypted."""
    statement = select(data.c.key, data.c.value, data.c.encrypted).where(
        data.c.resource == resource
    )
    return {key: (value, encrypted) for key, value, encrypted in connection.execute(statement)}


def having(connection: Connection, key: str) -> dict[str, str]:
    """The values of a key that is not encrypted, by resource."""
    statement = select(data.c.resource, data.c.value).where(data.c.key == key)
    return {row.resource: row.value for row in connection.execute(statement)}


def any_encrypted(connection: Connection) -> str | None:
    """One of the encrypted values, or None if there are none."""
    return connection.execute(select(data.c.value).where(data.c.encrypted).limit(1)).scalar()


def write(connection: Connection, resource: str, values: Mapping[str, str], sealed: bool) -> None:
    """Set values, replacing those of the same keys."""
    if not values:
        return
    connection.execute(
        delete(data).where(data.c.resource == resource, data.c.key.in_(list(values)))
    )
    connection.execute(
        insert(data),
        [
            {"resource": resource, "key": key, "value": value, "encrypted": sealed}
            for key, value in values.items()
        ],
    )


def forget(connection: Connection, resource: str, key: str | None = None) -> None:
    """Delete one key, or all keys of the resource."""
    statement = delete(data).where(data.c.resource == resource)
    if key is not None:
        statement = statement.where(data.c.key == key)
    connection.execute(statement)
