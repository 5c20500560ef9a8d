"""Whose networks a share network may name: Neutron is asked with the user's own token."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from falcon.testing import TestClient

pytest.importorskip("keystonemiddleware", reason="the extra [openstack] is not installed")

from atoll.api.app import create_app
from atoll.db.database import Database
from tests.api import keystones
from tests.api.conftest import Client
from tests.api.keystones import Credentials, Keystone

keystone = keystones.keystone
pytestmark = pytest.mark.filterwarnings("ignore")


class Neutron:
    """Networks, each with one subnet, and the tokens that see them; ``*`` are all."""

    def __init__(self) -> None:
        self.networks: dict[str, dict[str, Any]] = {}
        self.seen_by: dict[str, set[str]] = {}
        self.is_away = False

    def answer(self, path: str, token: str) -> tuple[int, Any]:
        if self.is_away:
            return 503, {}
        _, _, kind, thing_id = path.split("/")
        network_id = thing_id.removeprefix("subnet-of-")
        found = self.networks.get(network_id)
        if found is None or self.seen_by[network_id].isdisjoint({"*", token}):
            return 404, {"NeutronError": {"message": "not found"}}
        if kind == "subnets":
            return 200, {"subnet": {"id": thing_id, "network_id": network_id}}
        return 200, {"network": {"id": network_id, **found}}


@pytest.fixture
def neutron(keystone: Keystone) -> Iterator[Neutron]:
    neutron = Neutron()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = neutron.answer(self.path, self.headers.get("X-Auth-Token", ""))
            content = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *args: object) -> None:
            """Not on the terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    identity = keystone.identity
    service = identity.create_service(type="network", name=f"{keystone.run}-neutron")
    url = f"http://127.0.0.1:{server.server_port}"
    endpoint = identity.create_endpoint(
        service_id=service.id, interface="public", region_id=keystone.region, url=url
    )
    yield neutron
    identity.delete_endpoint(endpoint.id)
    identity.delete_service(service.id)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def http(keystone: Keystone, neutron: Neutron, tmp_path: Path, database: Database) -> TestClient:
    settings = keystone.settings(tmp_path, region_name=keystone.region)
    return TestClient(create_app(msgspec.structs.replace(settings, cloud="openstack"), database))


@pytest.fixture
def enter(http: TestClient) -> Callable[[Credentials], tuple[Client, str]]:
    """A client with a fresh token, and the token."""

    def client(credentials: Credentials) -> tuple[Client, str]:
        token = keystones.token(credentials)
        return Client(http, token, ""), token

    return client


def ask(client: Client, network_id: str, subnet_id: str = "") -> int:
    wish = {"neutron_net_id": network_id}
    wish["neutron_subnet_id"] = subnet_id or f"subnet-of-{network_id}"
    answer = client("POST", "/share-networks", {"share_network": wish})
    if answer.status_code != 200:
        assert not client.get("/share-networks")["share_networks"]
    return int(answer.status_code)


def test_a_project_names_only_what_it_may_use(
    keystone: Keystone, neutron: Neutron, enter: Callable[[Credentials], tuple[Client, str]]
) -> None:
    red, red_token = enter(keystone.person("member", project="red"))
    _, blue_token = enter(keystone.person("member", project="blue"))
    mine, theirs = keystone.project("red"), keystone.project("blue")
    neutron.networks = {
        "own": {"project_id": mine},
        "blues": {"project_id": theirs},
        "public": {"project_id": theirs, "router:external": True, "shared": False},
        "shared": {"project_id": theirs, "shared": True},
        "granted": {"project_id": theirs, "shared": True},
    }
    neutron.seen_by = {
        "own": {red_token},
        "blues": {blue_token},
        "public": {"*"},
        "shared": {"*"},
        "granted": {red_token},
    }
    for network_id in ("blues", "public", "absent"):
        assert ask(red, network_id) == 400, network_id
    assert ask(red, "own", "subnet-of-shared") == 400
    assert ask(red, "own", "subnet-of-blues") == 400
    for network_id in ("own", "shared", "granted"):
        assert ask(red, network_id) == 200, network_id


def test_other_ways_to_name_a_network_are_looked_at_too(
    keystone: Keystone, neutron: Neutron, enter: Callable[[Credentials], tuple[Client, str]]
) -> None:
    red, token = enter(keystone.person("member", project="red"))
    neutron.networks = {
        "own": {"project_id": keystone.project("red")},
        "blues": {"project_id": keystone.project("blue")},
    }
    neutron.seen_by = {"own": {token}, "blues": set()}
    wish = {"neutron_net_id": "own", "neutron_subnet_id": "subnet-of-own"}
    made = red("POST", "/share-networks", {"share_network": wish}).json["share_network"]
    wish = {"neutron_net_id": "blues", "neutron_subnet_id": "subnet-of-blues"}
    path = f"/share-networks/{made['id']}"
    assert red("PUT", path, {"share_network": wish}).status_code == 400
    answer = red("POST", f"{path}/subnets", {"share-network-subnet": wish}, "2.70")
    assert answer.status_code == 400, answer.text
    assert red.get(path)["share_network"]["share_network_subnets"][0]["neutron_net_id"] == "own"


def test_nobody_gets_in_while_neutron_is_away(
    keystone: Keystone, neutron: Neutron, enter: Callable[[Credentials], tuple[Client, str]]
) -> None:
    red, token = enter(keystone.person("member", project="red"))
    neutron.networks = {"own": {"project_id": keystone.project("red")}}
    neutron.seen_by = {"own": {token}}
    neutron.is_away = True
    assert ask(red, "own") == 503
    assert red("POST", "/share-networks", {"share_network": {}}).status_code == 200
