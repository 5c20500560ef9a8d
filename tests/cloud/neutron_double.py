"""A server that answers as Neutron does where it keeps things: enough to see who asks for what.

Nova's server groups are kept in the same manner.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import deepcopy
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import uuid4

import openstack

from atoll.cloud.openstack.api import Api

Json = dict[str, Any]

DEFAULTS: dict[str, Json] = {
    "networks": {"name": "", "subnets": [], "mtu": 1450},
    "subnets": {"name": "", "gateway_ip": None, "description": "", "ip_version": 4},
    "ports": {
        "network_id": "",
        "device_id": "",
        "device_owner": "",
        "fixed_ips": [],
        "security_groups": [],
        "mac_address": "fa:16:3e:00:00:01",
        "binding:vif_type": "bridge",
    },
    "security_groups": {"security_group_rules": []},
}
FILTERS = ("description", "network_id", "device_id")
NAMES = {"os_server_groups": "server_groups"}
"""Where the path says another name than the body."""


class NeutronDouble:
    """Things by kind; ``hold`` makes so many requests to make something wait for each other."""

    def __init__(self) -> None:
        self.things: dict[str, dict[str, Json]] = {}
        self.requests: list[str] = []
        self.hold: threading.Barrier | None = None
        self.lists: dict[str, Any] = {}
        """What is answered instead, by the path after the version."""
        self.url = ""
        self.address = "192.0.2.1"
        """What ports get."""
        self.is_away = False
        self.seconds = 0.0
        """How long each reading takes."""
        self.lose_answers = 0
        """So many answers to requests that make something are lost."""
        self.lock = threading.Lock()

    def get(self, kind: str, query: dict[str, str]) -> Json:
        with self.lock:
            wanted = {key: query[key] for key in FILTERS if key in query}
            found = [
                thing
                for thing in self.things.get(kind, {}).values()
                if wanted.items() <= thing.items()
            ]
        return {kind: found}

    def post(self, kind: str, wish: Json) -> Json:
        if self.hold is not None:
            self.hold.wait(10)
        made = {**deepcopy(DEFAULTS.get(kind, {})), **wish, "id": str(uuid4())}
        with self.lock:
            self.things.setdefault(kind, {})[made["id"]] = made
            for fixed in made.get("fixed_ips", ()):
                fixed.setdefault("ip_address", self.address)
            if kind == "subnets" and made["network_id"] in self.things.get("networks", {}):
                self.things["networks"][made["network_id"]]["subnets"].append(made["id"])
        return made

    def add_rules(self, wishes: list[Json]) -> list[Json]:
        made = [wish | {"id": str(uuid4())} for wish in wishes]
        with self.lock:
            for rule in made:
                group = self.things["security_groups"][rule["security_group_id"]]
                group["security_group_rules"].append(rule)
        return made

    def delete_rule(self, rule_id: str) -> bool:
        with self.lock:
            for group in self.things.get("security_groups", {}).values():
                for rule in group["security_group_rules"]:
                    if rule["id"] == rule_id:
                        group["security_group_rules"].remove(rule)
                        return True
        return False


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a ``NeutronDouble``."""

    neutron: NeutronDouble
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.neutron.requests.append(f"GET {self.path}")
        time.sleep(self.neutron.seconds)
        if self.neutron.is_away:
            self._answer(503, None)
            return
        path = urlsplit(self.path).path.removeprefix("/v2.0")
        if path in self.neutron.lists:
            self._answer(200, self.neutron.lists[path])
            return
        kind, _, thing_id = self._path()
        if kind == "quotas":
            self._answer(200, {"tenant": {"tenant_id": "ours"}})
        elif thing_id:
            found = self.neutron.things.get(kind, {}).get(thing_id)
            self._answer(200 if found else 404, {kind.removesuffix("s"): found})
        elif kind:
            query = dict(parse_qsl(urlsplit(self.path).query))
            self._answer(200, self.neutron.get(kind, query))
        else:
            link = {"rel": "self", "href": f"http://{self.headers['Host']}/v2.0"}
            version = {"id": "v2.0", "status": "CURRENT", "links": [link]}
            self._answer(200, {"versions": [version]})

    def do_POST(self) -> None:
        self.neutron.requests.append(f"POST {self.path}")
        kind, _, _ = self._path()
        name = kind.removesuffix("s")
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if kind == "security_group_rules":
            self._answer(201, {kind: self.neutron.add_rules(body[kind])})
            return
        made = self.neutron.post(kind, body[name])
        with self.neutron.lock:
            lost = self.neutron.lose_answers > 0
            self.neutron.lose_answers -= lost
        self._answer(503 if lost else 201, {name: made})

    def do_PUT(self) -> None:
        self.neutron.requests.append(f"PUT {self.path}")
        kind, _, thing_id = self._path()
        name = kind.removesuffix("s")
        changes = json.loads(self.rfile.read(int(self.headers["Content-Length"])))[name]
        with self.neutron.lock:
            thing = self.neutron.things.get(kind, {}).get(thing_id)
            if thing is not None:
                thing.update(changes)
        self._answer(200 if thing else 404, {name: thing})

    def do_DELETE(self) -> None:
        self.neutron.requests.append(f"DELETE {self.path}")
        kind, _, thing_id = self._path()
        if kind == "security_group_rules":
            self._answer(204 if self.neutron.delete_rule(thing_id) else 404, None)
            return
        with self.neutron.lock:
            found = self.neutron.things.get(kind, {}).pop(thing_id, None)
        self._answer(204 if found else 404, None)

    def _path(self) -> tuple[str, str, str]:
        kind, slash, rest = urlsplit(self.path).path.removeprefix("/v2.0").strip("/").partition("/")
        kind = kind.replace("-", "_")
        return NAMES.get(kind, kind), slash, rest

    def _answer(self, status: int, body: Any) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *args: object) -> None:
        """Not on the terminal."""


@contextmanager
def neutron_double() -> Iterator[tuple[NeutronDouble, Api]]:
    """The server, and our side of it."""
    neutron = NeutronDouble()
    handler = type("Bound", (Handler,), {"neutron": neutron})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        neutron.url = url = f"http://127.0.0.1:{server.server_port}/v2.0"
        connection = openstack.connect(
            load_envvars=False,
            load_yaml_config=False,
            auth_type="none",
            network_api_version="2",
            network_endpoint_override=url,
        )
        yield neutron, Api(connection, "network")
        connection.close()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
