"""Databases for all tests: a fresh one, with the schema, on SQLite and on PostgreSQL."""

from __future__ import annotations

import os
import shutil
import tempfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

from atoll.db.database import Database
from atoll.db.migrations import upgrade
from harness import postgres
from tests.programs import need_postgres

# On a busy machine a single example may take any time; pytest-timeout ends what hangs.
hypothesis.settings.register_profile("atoll", deadline=None)
hypothesis.settings.load_profile("atoll")

DATABASES = ("sqlite", "postgres")

OF_THE_HOST = ("tests/system/", "tests/cloud/test_local_networks.py")
"""Tests of the host's networks and firewall, and of whole systems, which rely on these."""
OF_CLOUDS = "tests/cloud/"
"""Tests of the local cloud, which use the same ranges of addresses."""
OF_DEPLOYMENTS = (
    "tests/lifecycle/",
    "tests/cli/",
    "tests/api/test_openapi.py",
    "tests/system/test_api_user.py",
)
"""Tests that take long, and of which most are about something else than the database."""


class InGroups(LoadScopeScheduling):  # type: ignore[misc]
    """Runs tests of virtual machines two at a time (scripts/test), of different groups.

    Within a group they share machines, ranges of addresses, and what they change of the host. The
    machines of other tests have networks of their own in QEMU, so each file is a group.
    """

    def _split_scope(self, nodeid: str) -> str:
        if nodeid.startswith(OF_THE_HOST):
            return "host"
        return "clouds" if nodeid.startswith(OF_CLOUDS) else nodeid.partition("::")[0]


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> LoadScopeScheduling | None:
    return InGroups(config, log) if config.getvalue("dist") == "loadscope" else None


@pytest.hookimpl(tryfirst=True)  # before tests are chosen by their marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if {"disk", "disks"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("root")  # mounts, loop devices
        if item.nodeid.startswith(OF_DEPLOYMENTS) and _is_left_to_the_other_database(item):
            item.add_marker("long")
    # Slow tests come first, so that none of them runs alone at the end.
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


def _is_left_to_the_other_database(item: pytest.Item) -> bool:
    """Whether ``make test`` runs this test on the other database alone.

    Each test has one of the two, always the same. Tests of what databases do differently, such as
    locks, are marked ``both_databases``.
    """
    parameters = getattr(getattr(item, "callspec", None), "params", {})
    database = next((value for value in parameters.values() if value in DATABASES), None)
    if database is None or item.get_closest_marker("both_databases"):
        return False
    name = item.nodeid.partition("[")[0]
    own = DATABASES[zlib.crc32(name.encode()) % len(DATABASES)]
    return bool(database != own)


def pytest_runtest_setup(item: pytest.Item) -> None:
    if os.geteuid() != 0 and item.get_closest_marker("root"):
        pytest.skip("needs root")


@pytest.fixture(scope="session")
def cluster() -> Iterator[postgres.Cluster]:
    cluster = postgres.Cluster(need_postgres())
    yield cluster
    cluster.remove()


@pytest.fixture(scope="session")
def _sqlite_directory() -> Iterator[Path]:
    """In memory where there is such a place: a test need not survive a power cut."""
    memory = Path("/dev/shm")
    base = memory if os.access(memory, os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="atoll-db-", dir=base) as directory:
        yield Path(directory)


@pytest.fixture(scope="session")
def _sqlite_template(_sqlite_directory: Path) -> Path:
    path = _sqlite_directory / "template.db"
    database = Database(f"sqlite:///{path}")
    upgrade(database)
    database.close()
    return path


@pytest.fixture(scope="session")
def _postgres_template(cluster: postgres.Cluster) -> str:
    database = Database(cluster.new_database())
    upgrade(database)
    database.close()
    assert database.url.database is not None
    return database.url.database


@pytest.fixture(scope="session")
def make_sqlite(_sqlite_directory: Path, _sqlite_template: Path) -> Callable[[], str]:
    """Make a database with the schema on SQLite, and return its URL."""

    def make() -> str:
        path = Path(tempfile.mkdtemp(dir=_sqlite_directory)) / "atoll.db"
        shutil.copy(_sqlite_template, path)
        return f"sqlite:///{path}"

    return make


@pytest.fixture(scope="session")
def make_postgres(cluster: postgres.Cluster, _postgres_template: str) -> Callable[[], str]:
    """The same on PostgreSQL."""
    return lambda: cluster.new_database(_postgres_template)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def new_database_url(request: pytest.FixtureRequest) -> Iterator[Callable[[], str]]:
    """Make a database with the schema and return its URL; as often as one likes."""
    make: Callable[[], str] = request.getfixturevalue(f"make_{request.param}")
    made: list[str] = []

    def new() -> str:
        made.append(make())
        return made[-1]

    yield new
    if request.param == "postgres":
        cluster: postgres.Cluster = request.getfixturevalue("cluster")
        for url in made:
            cluster.drop(url)


@pytest.fixture
def database_url(new_database_url: Callable[[], str]) -> str:
    """The URL of a fresh database with the schema."""
    return new_database_url()


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A fresh database with the schema."""
    database = Database(database_url)
    yield database
    database.close()
