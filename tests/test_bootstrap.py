"""What a first start makes for a newcomer, by the cloud that it is on."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import select

from atoll.cli import bootstrap
from atoll.cli.clouds import open_own_cloud
from atoll.config import DatabaseSettings, Driver, Settings
from atoll.db.database import Database
from atoll.db.tables import deployment, share_networks
from atoll.errors import ConfigurationError


def names_of_share_networks(directory: Path, **options: Any) -> list[str]:
    """After two starts."""
    url = f"sqlite:///{directory}/atoll.sqlite"
    settings = Settings(state_dir=directory, database=DatabaseSettings(url=url), **options)
    database = Database(url)
    try:
        for _ in range(2):
            bootstrap.prepare(settings, database)
        with database.read() as connection:
            return [row["name"] for row in connection.execute(select(share_networks)).mappings()]
    finally:
        database.close()


@pytest.mark.parametrize("cloud", ["local", "memory"])
def test_a_first_share_network_is_ready(tmp_path: Path, cloud: str) -> None:
    assert names_of_share_networks(tmp_path, cloud=cloud) == ["default"]


def test_users_of_openstack_bring_their_own_networks(tmp_path: Path) -> None:
    assert names_of_share_networks(tmp_path, cloud="openstack") == []


def test_a_common_server_needs_no_share_network(tmp_path: Path) -> None:
    common = Driver(driver_handles_share_servers=False, service_instance_name_or_id="files")
    assert names_of_share_networks(tmp_path, cloud="memory", driver=common) == []


AT_ONCE = 6


def all_at_once(url: str, first: Callable[[Database, int], Any]) -> list[Any]:
    """What several processes' first step returns when they take it in the same moment."""
    ready = Barrier(AT_ONCE)

    def start(number: int) -> Any:
        with closing(Database(url)) as database, database.read():
            ready.wait(timeout=60)
            return first(database, number)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        return list(pool.map(start, range(AT_ONCE)))


def test_processes_that_start_at_once_make_one_deployment(
    tmp_path: Path, new_database_url: Callable[[], str]
) -> None:
    for turn in range(5):
        directory, url = tmp_path / str(turn), new_database_url()
        settings = Settings(state_dir=directory, cloud="memory", database=DatabaseSettings(url=url))

        def start(database: Database, _: int, settings: Settings = settings) -> str:
            settings.make_state_dir()
            open_own_cloud(settings, database).close()
            return bootstrap.prepare(settings, database).deployment_id

        assert len(set(all_at_once(url, start))) == 1
        with closing(Database(url)) as database, database.read() as connection:
            assert len(connection.execute(select(share_networks)).all()) == 1


def test_of_different_clouds_that_start_at_once_one_is_taken(
    tmp_path: Path, new_database_url: Callable[[], str]
) -> None:
    for turn in range(5):
        url = new_database_url()

        def start(database: Database, number: int, turn: int = turn, url: str = url) -> bool:
            settings = Settings(
                state_dir=tmp_path / f"{turn}-{number}",
                cloud="memory",
                database=DatabaseSettings(url=url),
            )
            settings.make_state_dir()
            try:
                open_own_cloud(settings, database).close()
            except ConfigurationError:
                return False
            return True

        assert all_at_once(url, start).count(True) == 1
        with closing(Database(url)) as database, database.read() as connection:
            keys = connection.execute(select(deployment.c.key)).scalars().all()
        assert sorted(keys) == ["cloud", "database", "id"]
