"""What a first start makes for a newcomer, by the cloud that it is on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from atoll.cli import bootstrap
from atoll.config import DatabaseSettings, Driver, Settings
from atoll.db.database import Database
from atoll.db.tables import share_networks


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
