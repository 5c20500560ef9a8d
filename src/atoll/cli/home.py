"""Prevents work on a cloud that is not the database's own, and work with a copy of a database.

In another cloud, a worker would find none of its instances and volumes, and replace them as lost.
With a copy of the database, it would interfere with the workers of the original.
"""

from __future__ import annotations

from sqlalchemy import Connection

from atoll.cloud.base import Cloud
from atoll.config import Settings
from atoll.db import facts, whereabouts
from atoll.db.database import Database
from atoll.db.whereabouts import CLOUD, DATABASE, Facts
from atoll.errors import ConfigurationError
from atoll.lifecycle import seal

_HINT = "If both are correct, and no other worker uses its shares: 'atoll claim --yes'."


def refuse_elsewhere(settings: Settings, database: Database) -> None:
    """Raise ``ConfigurationError`` for a copy, and if the configuration names another cloud.

    The cloud is not asked, and nothing is written.
    """
    with database.read() as connection:
        _refuse_elsewhere(settings, database, connection)


def _refuse_elsewhere(settings: Settings, database: Database, connection: Connection) -> None:
    known = whereabouts.known(connection, DATABASE)
    present = whereabouts.of_database(database, connection, settings.host)
    if whereabouts.differ(known, present):
        raise ConfigurationError(
            f"This database may be a copy: it was used {_described(known)}, and it is now"
            f" {_described(present)}.",
            hint="A copy must not work on the original's shares. If the database itself has moved,"
            " and no worker uses the old one: 'atoll claim --yes'. If only a machine without a"
            " machine-id was renamed, set host to its old name.",
        )
    _compare(whereabouts.known(connection, CLOUD), _configured(settings))


def refuse_foreign(settings: Settings, database: Database, cloud: Cloud) -> None:
    """Raise ``ConfigurationError`` if the opened cloud is not the database's own.

    Nothing is written. Raises ``CloudUnavailable`` if the cloud can't be identified at the moment.
    """
    present = _configured(settings) | cloud.place()
    with database.read() as connection:
        known = whereabouts.known(connection, CLOUD)
    _compare(known, present)


def settle(settings: Settings, database: Database, cloud: Cloud) -> None:
    """Do both checks, and store facts that are not known yet, such as those of the first cloud."""
    place = _configured(settings) | cloud.place()
    with database.begin() as connection:
        facts.lock(connection)  # if two workers have different clouds, one must be the first
        _refuse_elsewhere(settings, database, connection)
        _compare(whereabouts.known(connection, CLOUD), place)
        here = whereabouts.of_database(database, connection, settings.host)
        whereabouts.adopt(connection, DATABASE, here)
        whereabouts.adopt(connection, CLOUD, place)


def claim(settings: Settings, database: Database, cloud: Cloud) -> tuple[str, str]:
    """Assign this database's place and this cloud to the deployment; describe both.

    A key that no secret depends on may be replaced, because the new place may have another one.
    """
    place = _configured(settings) | cloud.place()
    with database.begin() as connection:
        facts.lock(connection)
        here = whereabouts.of_database(database, connection, settings.host)
        whereabouts.remember(connection, DATABASE, here)
        whereabouts.remember(connection, CLOUD, place)
        seal.forget_unused(connection)
    return _described(here), _described(place)


def _compare(known: Facts, present: Facts) -> None:
    if not whereabouts.differ(known, present):
        return
    if known.get("kind") == present["kind"] == "local" and known.get("host") != present["host"]:
        raise ConfigurationError(
            f"The shares of this database are on the machine {known['host']}, and this is"
            f" {present['host']}.",
            hint="Run the worker there; if that machine was renamed, set host to its old name.",
        )
    raise ConfigurationError(
        f"The shares of this database are {_described(known)}, and the configuration leads to"
        f" another cloud: {_described(present)}.",
        hint="Correct the configuration (cloud, state_dir, or the credentials in clouds.yaml) or"
        f" the database's address. {_HINT}",
    )


def _configured(settings: Settings) -> Facts:
    facts: Facts = {"kind": settings.cloud}
    return facts | {"host": settings.host} if settings.cloud == "local" else facts


def _described(facts: Facts) -> str:
    words = {
        "local": "on the machine {host}, state directory {place}",
        "memory": "in the simulated cloud {place}",
        "openstack": "in OpenStack's project {project}, region {region}",
        "sqlite": "on the machine {host} (machine-id {machine})",
        "postgresql": "database {name} of the PostgreSQL server {server}",
    }[facts["kind"]]
    names = ("host", "place", "project", "region", "machine", "name", "server")
    return words.format(**{name: facts.get(name) or "unknown" for name in names})
