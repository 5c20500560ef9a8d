"""Share servers through HTTP: for administrators only."""

from __future__ import annotations

import pytest

from atoll.db import share_networks, subnets
from atoll.model.states import ServerStatus
from tests.api import scene
from tests.api.conftest import ApiInProcess, Client


@pytest.fixture
def server(world: ApiInProcess) -> tuple[str, str]:
    """A share server's id and its share network's."""
    with world.database.begin() as connection:
        network = share_networks.create(connection, "blue", "u", name="blue-net")
        subnet = subnets.create(connection, network)
    return scene.add_server(world.database, "blue", subnet), network


def test_list_show_details(admin: Client, server: tuple[str, str]) -> None:
    server_id, network_id = server
    for query in ("", "?host=here@memory", "?share_network=blue-net", "?project_id=blue",
                  f"?share_network_id={network_id}", "?status=active"):  # fmt: skip
        found = admin.get(f"/share-servers{query}")["share_servers"]
        assert [one["id"] for one in found] == [server_id], query
        assert found[0]["share_network_name"] == "blue-net"
        assert found[0]["share_network_id"] == network_id
        assert "backend_details" not in found[0]
    assert admin.get("/share-servers?status=error")["share_servers"] == []
    shown = admin.get(f"/share-servers/{server_id}")["share_server"]
    assert shown["backend_details"] == {"instance_id": "i-1"}
    assert admin.get(f"/share-servers/{server_id}/details") == {"details": {"instance_id": "i-1"}}
    old = admin.get(f"/share-servers/{server_id}", "2.69")["share_server"]
    new = admin.get(f"/share-servers/{server_id}", "2.70")["share_server"]
    assert new["share_network_subnet_ids"] == [old["share_network_subnet_id"]]
    assert "share_network_subnet_id" not in new
    assert "identifier" not in admin.get(f"/share-servers/{server_id}", "2.48")["share_server"]


def test_projects_do_not_see_them(member: Client, server: tuple[str, str]) -> None:
    assert member("GET", "/share-servers").status_code == 403
    assert member("GET", f"/share-servers/{server[0]}").status_code == 403
    assert member("DELETE", f"/share-servers/{server[0]}").status_code == 403


def test_delete(world: ApiInProcess, admin: Client, server: tuple[str, str]) -> None:
    path = f"/share-servers/{server[0]}"
    assert admin("DELETE", path).status_code == 202
    assert admin.get(path)["share_server"]["status"] == "deleting"
    assert f"share_server/{server[0]}" in scene.queued(world.database)
    assert admin("DELETE", path).status_code == 403
    assert admin("DELETE", "/share-servers/none").status_code == 404


def test_delete_is_refused_while_it_has_shares(
    world: ApiInProcess, admin: Client, server: tuple[str, str]
) -> None:
    scene.add_share(world.database, "blue", share_server_id=server[0])
    assert admin("DELETE", f"/share-servers/{server[0]}").status_code == 409
    assert scene.queued(world.database) == set()


def test_reset_status(world: ApiInProcess, admin: Client, server: tuple[str, str]) -> None:
    path = f"/share-servers/{server[0]}"
    body = {"reset_status": {"status": "error"}}
    assert admin("POST", f"{path}/action", body).status_code == 202
    assert admin.get(path)["share_server"]["status"] == "error"
    assert admin("POST", f"{path}/action", body, version="2.48").status_code == 404
    bad = {"reset_status": {"status": "happy"}}
    assert admin("POST", f"{path}/action", bad).status_code == 400


def test_a_status_can_be_set_to_all_that_manila_knows(
    world: ApiInProcess, admin: Client, server: tuple[str, str]
) -> None:
    path = f"/share-servers/{server[0]}"
    for status in ServerStatus.settable():
        body = {"reset_status": {"status": status}}
        assert admin("POST", f"{path}/action", body).status_code == 202, status
        assert admin.get(path)["share_server"]["status"] == status
        listed = admin.get(f"/share-servers?status={status}")["share_servers"]
        assert [(one["id"], one["status"]) for one in listed] == [(server[0], status)]
    assert not scene.queued(world.database)
