"""Where a deployment is at home: which cloud its resources are in, and where its database is.

Either is a set of named facts, kept as JSON in the table ``deployment``. Two sets speak of
different places where both know a fact and disagree about it; a fact that one of them lacks says
nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Connection, delete, insert, select, text, update

from atoll.db.database import Database
from atoll.db.tables import deployment

CLOUD, DATABASE = "cloud", "database"
LOCAL_HOST = "local_host"
"""What versions before this module remembered: the machine that the cloud ``local`` is on."""
MACHINE_ID = Path("/etc/machine-id")

Facts = dict[str, str]


def lock(connection: Connection) -> None:
    """Let no other process write the table ``deployment`` until the transaction ends.

    Processes that start at once on a new database would all find it empty, and all fill it. On
    SQLite a transaction that writes is alone anyway.
    """
    if connection.dialect.name == "postgresql":
        connection.execute(text("LOCK TABLE deployment IN SHARE ROW EXCLUSIVE MODE"))


def known(connection: Connection, key: str) -> Facts:
    """What is remembered; empty for a deployment that has not worked yet, or in an old version."""
    value = _value(connection, key)
    if value is not None:
        return msgspec.json.decode(value, type=Facts)
    host = _value(connection, LOCAL_HOST) if key == CLOUD else None
    return {} if host is None else {"kind": "local", "host": host}


def remember(connection: Connection, key: str, facts: Facts) -> None:
    """Write them down in place of what was remembered."""
    value = msgspec.json.encode(facts).decode()
    changed = connection.execute(
        update(deployment).where(deployment.c.key == key).values(value=value)
    )
    if not changed.rowcount:
        connection.execute(insert(deployment).values(key=key, value=value))
    if key == CLOUD:
        connection.execute(delete(deployment).where(deployment.c.key == LOCAL_HOST))


def adopt(connection: Connection, key: str, present: Facts) -> None:
    """Remember those of the present facts that were not known; the known ones stay."""
    old = known(connection, key)
    filled = present | {name: value for name, value in old.items() if value}
    if filled != old:
        remember(connection, key, filled)


def differ(one: Facts, other: Facts) -> bool:
    """Whether they speak of different places."""
    return any(one[name] != other[name] for name in one if one[name] and other.get(name))


def of_database(database: Database, connection: Connection, host: str) -> Facts:
    """Where this database is: on SQLite the machine, on PostgreSQL the server and the name in it.

    A machine is known by its id. Only one without an id is known by ``host``, because that is also
    an option, and two back ends on one machine have different ones. A copy made with ``pg_dump`` is
    in another server, or has another name; a standby that was promoted is still the same database.
    """
    if database.is_sqlite:
        machine = _machine_id()
        return {"kind": "sqlite", "host": "" if machine else host, "machine": machine}
    name = connection.execute(text("SELECT current_database()")).scalar_one()
    allowed = "SELECT has_function_privilege('pg_control_system()', 'execute')"
    server = ""
    if connection.execute(text(allowed)).scalar_one():
        query = text("SELECT system_identifier FROM pg_control_system()")
        server = str(connection.execute(query).scalar_one())
    return {"kind": "postgresql", "server": server, "name": str(name)}


def _machine_id() -> str:
    """The machine's own id; empty where it has none yet."""
    try:
        written = MACHINE_ID.read_text().strip()
    except OSError:
        return ""
    return "" if written == "uninitialized" else written  # systemd's word in an image


def _value(connection: Connection, key: str) -> str | None:
    statement = select(deployment.c.value).where(deployment.c.key == key)
    return connection.execute(statement).scalar_one_or_none()
