"""A server that answers as Cinder and Nova do for one volume: what they refuse, and when."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import openstack

from atoll.cloud.openstack import OpenStackSettings
from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.server_groups import ServerGroups
from atoll.cloud.openstack.volumes import CinderVolumes

from .hosts_double import FORBIDDEN, Hosts
from .neutron_double import neutron_double

Json = dict[str, Any]
VOLUME, SERVER, SNAPSHOT = "volume-1", "server-1", "snapshot-1"


@dataclass
class Double:
    """One volume, perhaps a snapshot of it, and the servers that are there."""

    status: str = "available"
    size: int = 1
    attachments: list[Json] = field(default_factory=list)
    """``id``, ``instance`` and ``status``, as Cinder has them."""
    metadata: dict[str, str] = field(default_factory=dict)
    """The volume's."""
    created_as: str = "available"
    """Its status once somebody asks for a volume where there is none."""
    snapshot: str = ""
    """Its status; empty: there is none."""
    snapshot_metadata: dict[str, str] = field(default_factory=dict)
    servers: set[str] = field(default_factory=lambda: {SERVER})
    hosts: Hosts = field(default_factory=Hosts)
    reclaims_later: bool = False
    """Whether deleted servers can be restored for a while."""
    kept: set[str] = field(default_factory=set)
    """Those that could be."""
    known_to_nova: set[str] = field(default_factory=set)
    """Servers that Nova knows to have the volume."""
    overtaken_by: str = ""
    """A status that somebody sets just before a volume is attached."""
    changes: list[str] = field(default_factory=list)
    """Requests that change something."""
    _later: list[tuple[float, Json]] = field(default_factory=list)

    def later(self, seconds: float, **values: Any) -> None:
        """Become this by itself."""
        self._later.append((time.monotonic() + seconds, values))

    def attach(self, server: str, status: str = "attached") -> None:
        """Have an attachment."""
        self.attachments.append(
            {
                "id": f"attachment-{server}",
                "instance": server,
                "status": status,
                "volume_id": VOLUME,
            }
        )

    def pass_time(self) -> None:
        """Let happen what is due."""
        due = [one for one in self._later if one[0] <= time.monotonic()]
        for one in due:
            self._later.remove(one)
            for name, value in one[1].items():
                setattr(self, name, value)

    # --- answers ----------------------------------------------------------------------------------

    def volume(self) -> Json:
        holders = [a["instance"] for a in self.attachments if a["status"] == "attached"]
        return {
            "id": VOLUME,
            "status": self.status,
            "size": self.size,
            "metadata": self.metadata,
            "created_at": "2026-11-01T00:00:00.000000",
            "attachments": [{"server_id": server} for server in holders],
        }

    def shown_snapshot(self) -> Json:
        return {
            "id": SNAPSHOT,
            "status": self.snapshot,
            "volume_id": VOLUME,
            "size": self.size,
            "metadata": self.snapshot_metadata,
        }

    def __post_init__(self) -> None:
        for server in (*self.servers, "dead"):
            self.hosts.record(server, "create", "compute__do_build_and_run_instance", "Success")
        self.hosts.record("dead", "delete", "compute_terminate_instance", "Success")

    def get(self, path: str, query: str = "") -> Json | None:
        kind, _, rest = path.strip("/").partition("/")
        server, _, below = rest.partition("/")
        if kind == "os-services":
            return self.hosts.services(query) if self.hosts.shown else FORBIDDEN
        if below.startswith("os-instance-actions"):
            return self.hosts.actions(server, below.partition("/")[2])
        if kind == "volumes" and rest == "detail":
            return {"volumes": [self.volume()] if self.status else []}
        if kind == "volumes":
            return {"volume": self.volume()} if self.status else None
        if kind == "snapshots" and rest != SNAPSHOT:
            here = self.snapshot and rest == "detail"
            return {"snapshots": [self.shown_snapshot()] if here else []}
        if kind == "snapshots":
            return {"snapshot": self.shown_snapshot()} if self.snapshot else None
        if kind == "attachments":
            return {"attachments": self.attachments}
        if server not in self.servers or ("/os-" in rest and server not in self.known_to_nova):
            return None
        status = "SOFT_DELETED" if server in self.kept else "ACTIVE"
        shown = {"id": server, "name": server, "status": status, "tags": []}
        shown |= self.hosts.attributes(server)
        return {"server": shown | {"os-extended-volumes:volumes_attached": []}}

    def post(self, path: str, body: Json) -> int:
        action = next(iter(body))
        if action == "volumeAttachment" and self.overtaken_by:
            self.status, self.overtaken_by = self.overtaken_by, ""
        if action == "forceDelete":
            self.servers.remove(path.split("/")[2])
            self.hosts.ended(path.split("/")[2])
            return 202
        if action == "os-extend" and self.status in ("available", "in-use"):
            self.size = body[action]["new_size"]
            return 202
        if action == "os-unreserve" and self.status == "attaching":
            self.status = "in-use" if self.attachments else "available"
            return 202
        if action == "os-roll_detaching" and self.status == "detaching":
            self.status = "in-use"
            return 202
        if action == "volumeAttachment" and self.status == "available":
            self.status = "in-use"
            self.attach(path.split("/")[2])
            return 200
        return 400

    def create(self, kind: str, wish: Json) -> Json:
        """Make the volume, or its snapshot, in the state that is wanted."""
        if kind == "snapshot":
            self.snapshot, self.snapshot_metadata = self.created_as, dict(wish["metadata"])
            return {"snapshot": self.shown_snapshot()}
        self.status, self.metadata = self.created_as, dict(wish["metadata"])
        return {"volume": self.volume()}

    def delete(self, path: str) -> int:
        if "/metadata/" in path:
            marks = self.metadata if path.startswith("/volumes/") else self.snapshot_metadata
            return 404 if marks.pop(path.rpartition("/")[2], None) is None else 200
        if path.startswith("/attachments/"):
            self.attachments = [a for a in self.attachments if a["id"] != path.rpartition("/")[2]]
            self.status = "in-use" if self.attachments else "available"
            return 200
        if path.startswith("/snapshots/"):
            if self.snapshot not in ("available", "error"):
                return 400
            self.snapshot = ""
            return 202
        if path.startswith("/servers/") and "/os-" not in path:
            return self.delete_server(path.split("/")[2])
        if path.startswith("/servers/"):
            if self.status != "in-use":
                return 400
            if path.split("/")[2] not in self.known_to_nova:
                return 404
            self.status, self.attachments = "available", []
            return 202
        if self.status not in ("available", "error") or self.attachments:
            return 400
        self.status = ""
        return 202

    def delete_server(self, server: str) -> int:
        if server not in self.servers:
            return 404
        if self.reclaims_later:
            self.kept.add(server)
        else:
            self.servers.remove(server)
            self.hosts.ended(server)
        return 204


class Handler(BaseHTTPRequestHandler):
    """Speaks HTTP for a ``Double``."""

    double: Double
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.double.pass_time()
        path, query = self._path(), urlsplit(self.path).query
        found = self.double.get(path, query) if path else self._version()
        status = 403 if found is FORBIDDEN else 200
        self._answer(404 if found is None else status, found)

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.double.changes.append(f"POST {self._path()} {next(iter(body))}")
        kind = self._path().strip("/").removesuffix("s")
        if kind in body:
            self._answer(202, self.double.create(kind, body[kind]))
            return
        self._answer(self.double.post(self._path(), body), {})

    def do_DELETE(self) -> None:
        self.double.changes.append(f"DELETE {self._path()}")
        self._answer(self.double.delete(self._path()), {})

    def _path(self) -> str:
        _, _, rest = urlsplit(self.path).path.strip("/").partition("/")
        return f"/{rest}" if rest else ""

    def _version(self) -> Json:
        name = self.path.strip("/")
        links = [{"rel": "self", "href": f"http://{self.headers['Host']}/{name}"}]
        return {"version": {"id": name, "status": "CURRENT", "links": links}}

    def _answer(self, status: int, body: Json | None) -> None:
        content = json.dumps(body or {"badRequest": {"message": "Invalid volume: its status"}})
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content.encode())

    def log_message(self, *args: object) -> None:
        """Not on the terminal."""


@contextmanager
def cinder_double(place: Path) -> Iterator[tuple[Double, CinderVolumes, NovaCompute]]:
    """The server, and our sides of it."""
    double = Double()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Handler,), {"double": double}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_port}"
    connection = openstack.connect(
        load_envvars=False,
        load_yaml_config=False,
        auth_type="none",
        block_storage_api_version="3",
        block_storage_endpoint_override=f"{url}/v3",
        compute_api_version="2",
        compute_endpoint_override=f"{url}/v2.1",
    )
    settings = OpenStackSettings(
        state_dir=place, max_time_to_attach=1.5, max_time_to_create_volume=5
    )
    volumes = CinderVolumes(Api(connection, "block-storage"), "test", settings)
    nova = Api(connection, "compute")
    groups = ServerGroups(nova, "test", "none")
    try:
        with neutron_double() as (_, network):
            ports = NeutronNetworks(network, "test", settings).ports
            yield double, volumes, NovaCompute(nova, "test", settings, volumes, groups, ports)
    finally:
        connection.close()
        server.shutdown()
        server.server_close()
        thread.join()
