"""CPU time of the API process per request, over HTTP, with 1,000 shares in the database.

Because CPU time is measured, other load on the machine hardly matters.
"""

from __future__ import annotations

import http.client
import json
import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

from atoll.cli import process
from atoll.config import Settings
from atoll.db import export_locations, share_networks, share_types, shares, subnets, tokens
from atoll.db.database import Database, utcnow_text
from atoll.db.migrations import upgrade
from atoll.model.records import Share
from atoll.model.states import RulesStatus, ShareStatus
from bench.number import Number
from harness.service import free_port

SHARES = 1000
ROUNDS = 5
TARGETS = {
    "GET /v2/shares/detail, all": 35.0,
    "the same at microversion 2.0": 35.0,
    "GET /v2/shares/detail?limit=100": None,
    "GET one share": 1.0,
    "POST share": 10.0,
}
HEADER = "X-OpenStack-Manila-API-Version"

Send = Callable[[str, str, str, object], int]


def fill(database: Database) -> tuple[str, str, str]:
    """Add 1,000 realistic shares; return a token, a share's id and a share network's id."""
    specs = {
        "driver_handles_share_servers": "True",
        "snapshot_support": "True",
        "create_share_from_snapshot_support": "True",
    }
    with database.begin() as connection:
        share_type = share_types.create(connection, "default", specs)
        network = share_networks.create(connection, "bench", "bench", name="net")
        subnets.create(connection, network)
        for number in range(SHARES):
            share_id = f"{number:08}-0000-4000-8000-000000000000"
            row: Share = {
                "id": share_id,
                "project_id": "0123456789abcdef0123456789abcdef",
                "user_id": "fedcba9876543210fedcba9876543210",
                "name": f"share number {number}",
                "description": "A share that stands for those that users have.",
                "size": 10,
                "share_proto": "NFS",
                "status": ShareStatus.AVAILABLE,
                "progress": "100%",
                "access_rules_status": RulesStatus.ACTIVE,
                "share_type_id": share_type["id"],
                "share_network_id": network,
                "availability_zone": "nova",
                "host": "controller@local#pool",
                "is_public": False,
                "metadata": {"purpose": "home directories", "owner": "team storage"},
                "options": {"squash": "root_squash", "file_system": "ext4"},
                "updated_at": utcnow_text(),
            }
            shares.add(connection, **row)
            location = {"path": f"10.88.0.4:/shares/{share_id}", "is_admin_only": False}
            export_locations.replace(connection, share_id, [location])
        token = tokens.create(connection, "bench", row["project_id"], "bench", ("member",))
        other = share_networks.create(connection, row["project_id"], "bench", name="net")
        subnets.create(connection, other)
    return token, share_id, other


def measure(send: Send, cpu: Callable[[], float], share_id: str, network: str) -> list[Number]:
    """Milliseconds of CPU per request, by kind of request, in several rounds."""
    wish = {"share": {"share_proto": "NFS", "size": 1, "share_network_id": network}}
    kinds: list[tuple[int, str, str, str, object]] = [
        (20, "GET", "/v2/shares/detail", "2.65", None),
        (20, "GET", "/v2/shares/detail", "2.0", None),
        (50, "GET", "/v2/shares/detail?limit=100", "2.65", None),
        (300, "GET", f"/v2/shares/{share_id}", "2.65", None),
        (60, "POST", "/v2/shares", "2.65", wish),
    ]
    found = []
    for (what, target), (times, method, path, version, body) in zip(
        TARGETS.items(), kinds, strict=True
    ):
        size = send(method, path, version, body)
        rounds = []
        for _ in range(ROUNDS):
            before = cpu()
            for _ in range(times):
                send(method, path, version, body)
            rounds.append((cpu() - before) / times * 1000)
        found.append(Number(what, rounds, "ms CPU", target, f"{size:,} bytes"))
    return found


@contextmanager
def served(directory: str) -> Iterator[tuple[int, psutil.Process]]:
    """Run only the API; yield its port and its process."""
    port = free_port()
    environment = {
        **process.environment(),
        "ATOLL_STATE_DIR": directory,
        "ATOLL_API__PORT": str(port),
        "ATOLL_QUOTA__SHARES": "-1",
        "ATOLL_QUOTA__GIGABYTES": "-1",
        "ATOLL_LOG__FORMAT": "json",
        "ATOLL_CONFIG": os.devnull,
    }
    with (Path(directory) / "log").open("wb") as output:
        command = [*process.command(None), "api"]
        api = subprocess.Popen(command, env=environment, stderr=output)
        try:
            while not listens(port):
                assert api.poll() is None, (Path(directory) / "log").read_text()
                time.sleep(0.1)
            yield port, psutil.Process(api.pid)
        finally:
            api.send_signal(signal.SIGTERM)
            api.wait(20)


def listens(port: int) -> bool:
    """Whether the API answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port)
    try:
        connection.request("GET", "/v2/")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def run() -> list[Number]:
    """Fill a database, serve it, and send requests."""
    with tempfile.TemporaryDirectory() as directory:
        database = Database(Settings(state_dir=Path(directory)).database_url)
        upgrade(database)
        token, share_id, network = fill(database)
        database.close()
        with served(directory) as (port, api):
            connection = http.client.HTTPConnection("127.0.0.1", port)

            def send(method: str, path: str, version: str, body: object) -> int:
                headers = {"X-Auth-Token": token, HEADER: version}
                text = None if body is None else json.dumps(body)
                connection.request(method, path, text, headers)
                answer = connection.getresponse()
                content = answer.read()
                assert answer.status == 200, content
                return len(content)

            def cpu() -> float:
                times = api.cpu_times()
                return float(times.user + times.system)

            return measure(send, cpu, share_id, network)
