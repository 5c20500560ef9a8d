"""The API on a fresh database, and clients that speak to it in process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from falcon.testing import Result, TestClient

from atoll.api.app import create_app
from atoll.config import Settings
from atoll.db import projects, share_types, tokens
from atoll.db.database import Database
from atoll.db.tables import fences, metadata, services
from tests import rows
from tests.api.served import server

__all__ = ["server"]

HEADER = "X-OpenStack-Manila-API-Version"


@dataclass
class Client:
    """One token's holder."""

    http: TestClient
    token: str
    project_id: str

    def __call__(
        self, method: str, path: str, body: Any = None, version: str = "2.65", **options: Any
    ) -> Result:
        headers = {"X-Auth-Token": self.token, HEADER: version, **options.pop("headers", {})}
        if body is not None:
            options["json"] = body
        if "raw" in options:
            options["body"] = options.pop("raw")
        return self.http.simulate_request(method, f"/v2{path}", headers=headers, **options)

    def get(self, path: str, version: str = "2.65", **options: Any) -> Any:
        result = self("GET", path, version=version, **options)
        assert result.status_code == 200, result.text
        return result.json


@dataclass
class ApiInProcess:
    """A database, the application on it, and who uses it."""

    database: Database
    settings: Settings
    http: TestClient

    def client(self, project: str, *roles: str) -> Client:
        with self.database.begin() as connection:
            token = tokens.create(connection, f"of {project}", project, f"{project}-user", roles)
        return Client(self.http, token, project)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(state_dir=tmp_path)


@dataclass
class Kept:
    """A database that many tests use, one after the other, and an application on it."""

    database: Database
    http: TestClient

    def empty(self) -> None:
        """Make it what it was after the migrations."""
        with self.database.begin() as connection:
            for table in reversed(metadata.sorted_tables):
                if table is not fences:  # the migrations add its only row
                    connection.execute(table.delete())


@pytest.fixture(
    scope="session", params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)]
)
def kept(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Kept]:
    """To make a database and an application for each test takes longer than most tests do."""
    make_url = request.getfixturevalue(f"make_{request.param}")
    database = Database(make_url())
    settings = Settings(state_dir=tmp_path_factory.mktemp("state"))
    yield Kept(database, TestClient(create_app(settings, database)))
    database.close()


@pytest.fixture
def database(kept: Kept) -> Database:
    """On SQLite and on PostgreSQL, with three projects, a share type and a live worker."""
    kept.empty()
    opened = kept.database
    with opened.begin() as connection:
        for name in ("blue", "red", "ops"):
            projects.create(connection, name, project_id=name)
        share_types.create(
            connection,
            "default",
            {
                "driver_handles_share_servers": "True",
                "snapshot_support": "True",
                "create_share_from_snapshot_support": "True",
            },
        )
        rows.add(
            connection,
            services,
            binary="atoll-worker",
            host="here@memory",
            zone="nova",
            disabled=False,
            pools=[],
            heartbeat=opened.now(connection),
        )
    return opened


@pytest.fixture
def world(settings: Settings, database: Database, kept: Kept) -> ApiInProcess:
    return ApiInProcess(database, settings, kept.http)


@pytest.fixture
def member(world: ApiInProcess) -> Client:
    return world.client("blue", "member")


@pytest.fixture
def stranger(world: ApiInProcess) -> Client:
    return world.client("red", "member")


@pytest.fixture
def reader(world: ApiInProcess) -> Client:
    return world.client("blue", "reader")


@pytest.fixture
def admin(world: ApiInProcess) -> Client:
    return world.client("ops", "admin")
