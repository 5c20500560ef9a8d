"""Where a deployment is: which cloud its resources are in, and where its database is.

Each is a set of named facts, stored as JSON in the table ``deployment``. Two sets mean different
places if both have a fact and its values differ. A fact that one of them lacks is ignored.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
from sqlalchemy import Connection, text

from atoll.db import facts as stored
from atoll.db.database import Database

CLOUD, DATABASE = "cloud", "database"
LOCAL_HOST = "local_host"
"""The fact that older versions stored: the machine of the cloud ``local``."""
MACHINE_ID = Path("/etc/machine-id")

Facts = dict[str, str]


def known(connection: Connection, key: str) -> Facts:
    """The stored facts; empty for a new deployment, or one that an old version has used."""
    value = stored.get(connection, key)
    if value is not None:
        return msgspec.json.decode(value, type=Facts)
    host = stored.get(connection, LOCAL_HOST) if key == CLOUD else None
    return {} if host is None else {"kind": "local", "host": host}


def remember(connection: Connection, key: str, facts: Facts) -> None:
    """Store these facts, and replace the stored ones."""
    value = msgspec.json.encode(facts).decode()
    stored.put(connection, key, value)
    if key == CLOUD:
        stored.remove(connection, LOCAL_HOST)


def adopt(connection: Connection, key: str, present: Facts) -> None:
    """Store those of the present facts that are not known yet; known facts remain."""
    old = known(connection, key)
    filled = present | {name: value for name, value in old.items() if value}
    if filled != old:
        remember(connection, key, filled)


def differ(one: Facts, other: Facts) -> bool:
    """Whether two sets of facts mean different places."""
    return any(one[name] != other[name] for name in one if one[name] and other.get(name))


def of_database(database: Database, connection: Connection, host: str) -> Facts:
    """Where this database is: the machine (SQLite), or server and database name (PostgreSQL).

    A machine is identified by its id, and only without an id by ``host``, because ``host`` is also
    an option, and differs between two back ends on one machine. A copy made with ``pg_dump`` is in
    another server, or has another name. A promoted standby is still the same database.
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
    """The machine's id; empty if it has none yet."""
    try:
        written = MACHINE_ID.read_text().strip()
    except OSError:
        return ""
    return "" if written == "uninitialized" else written  # what systemd writes to images
