"""Where a deployment is at home: which cloud its resources are in, and where its database is.

Either is a set of named facts, kept as JSON in the table ``deployment``. Two sets speak of
different places where both know a fact and disagree about it; a fact that one of them lacks says
nothing.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Connection, text

from atoll.db import facts as stored
from atoll.db.database import Database

CLOUD, DATABASE = "cloud", "database"
LOCAL_HOST = "local_host"
"""What versions before this module remembered: the machine that the cloud ``local`` is on."""
MACHINE_ID = Path("/etc/machine-id")

Facts = dict[str, str]


def known(connection: Connection, key: str) -> Facts:
    """What is remembered; empty for a deployment that has not worked yet, or in an old version."""
    value = stored.get(connection, key)
    if value is not None:
        return msgspec.json.decode(value, type=Facts)
    host = stored.get(connection, LOCAL_HOST) if key == CLOUD else None
    return {} if host is None else {"kind": "local", "host": host}


def remember(connection: Connection, key: str, facts: Facts) -> None:
    """Write them down in place of what was remembered."""
    value = msgspec.json.encode(facts).decode()
    stored.put(connection, key, value)
    if key == CLOUD:
        stored.remove(connection, LOCAL_HOST)


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
