"""Services that are away before anything was asked of them: that passes by itself."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import uuid4

import openstack
import pytest
from openstack.connection import Connection

from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.failures import translated
from atoll.errors import CloudUnavailable


class Handler(BaseHTTPRequestHandler):
    """Keystone below /identity, Neutron below /network; each may be away."""

    away: set[str]
    ended: set[str]
    """Tokens that are valid no more."""
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        root = f"http://{self.headers['Host']}{self.path.rstrip('/')}"
        if self._is_away():
            return
        if self.path.startswith("/identity"):
            links = [{"rel": "self", "href": f"{root}/v3/"}]
            self._answer(300, {"versions": {"values": [_version("v3.14", links)]}})
        elif self.path.rstrip("/") == "/network":
            links = [{"rel": "self", "href": f"{root}/v2.0"}]
            self._answer(200, {"versions": [_version("v2.0", links)]})
        elif self.headers["X-Auth-Token"] in self.ended:
            self._answer(401, {"error": {"message": "Unauthorized", "code": 401}})
        elif self.path == "/network/v2.0/networks":
            self._answer(200, {"networks": []})
        else:
            self._answer(404, {})

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if self._is_away():
            return
        url = f"http://{self.headers['Host']}/network"
        endpoint = {"interface": "public", "region_id": "R", "url": url, "id": "1"}
        catalog = [{"type": "network", "name": "neutron", "endpoints": [endpoint]}]
        token = {
            "methods": ["password"],
            "issued_at": "2020-01-01T00:00:00.000000Z",
            "expires_at": "2100-01-01T00:00:00.000000Z",
            "user": {"id": "u", "name": "u", "domain": {"id": "default", "name": "Default"}},
            "project": {"id": "p", "name": "p", "domain": {"id": "default", "name": "Default"}},
            "roles": [],
            "catalog": catalog,
        }
        time.sleep(0.2)  # as long as a real one takes
        self._answer(201, {"token": token})

    def _is_away(self) -> bool:
        self.away_now = self.path.split("/")[1] in self.away
        if self.away_now:
            self._answer(503, {})
        return self.away_now

    def _answer(self, status: int, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("X-Subject-Token", str(uuid4()))
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Not on the terminal."""


def _version(name: str, links: list[dict[str, str]]) -> dict[str, Any]:
    media = [{"base": "application/json", "type": "application/json"}]
    return {"id": name, "status": "stable", "links": links, "media-types": media}


@pytest.fixture
def away() -> set[str]:
    return set()


@pytest.fixture
def ended() -> set[str]:
    return set()


@pytest.fixture
def connection(away: set[str], ended: set[str]) -> Iterator[Connection]:
    handler = type("Bound", (Handler,), {"away": away, "ended": ended})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    made = openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_type="password",
        auth={
            "auth_url": f"http://127.0.0.1:{server.server_port}/identity",
            "username": "u",
            "password": "p",
            "project_name": "p",
            "user_domain_name": "Default",
            "project_domain_name": "Default",
        },
        region_name="R",
    )
    yield made
    made.close()
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("service", "words"),
    [("identity", "Keystone does not answer"), ("network", "Service Unavailable")],
)
def test_a_service_that_was_away_is_found_when_it_is_back(
    connection: Connection, away: set[str], service: str, words: str
) -> None:
    api = Api(connection, "network")
    away.add(service)
    with pytest.raises(CloudUnavailable, match=words):
        api.post("/networks", {})
    away.clear()
    assert api.get("/networks") == {"networks": []}


def test_a_token_that_ends_is_renewed_for_all_who_use_it(
    connection: Connection, ended: set[str]
) -> None:
    api = Api(connection, "network")
    api.get("/networks")
    ended.add(str(connection.session.get_token()))
    begin = threading.Barrier(8)

    def ask(_: int) -> Any:
        begin.wait(10)
        return api.get("/networks")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(ask, range(8))) == [{"networks": []}] * 8


def test_nobody_there_is_told_without_the_address(connection: Connection) -> None:
    with pytest.raises(CloudUnavailable, match="does not answer") as caught, translated("Nova"):
        connection.session.get("http://127.0.0.1:9/v2.1", authenticated=False)
    assert "127.0.0.1" not in str(caught.value)
