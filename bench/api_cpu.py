"""API process CPU a request, with 1,000 shares in the database.

    uv run python bench/api_cpu.py            in process, through the WSGI application
    uv run python bench/api_cpu.py --gunicorn one gunicorn worker, over HTTP; also its memory

CPU seconds of the process, so other load on the machine hardly matters. Targets: the unlimited
detail list at most 35 ms, one share at most 1 ms, creating one at most 10 ms.
"""

from __future__ import annotations

import argparse
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
from falcon.testing import TestClient

from atoll import log
from atoll.api.app import create_app
from atoll.config import Log, Quota, Settings
from atoll.db import export_locations, share_networks, share_types, shares, tokens
from atoll.db.database import Database, utcnow_text
from atoll.db.migrations import upgrade

SHARES = 1000
TARGETS = {"list": 35.0, "list 2.0": 35.0, "list limit=100": None, "show": 1.0, "create": 10.0}
HEADER = "X-OpenStack-Manila-API-Version"

Send = Callable[[str, str, str, object], int]


def fill(database: Database) -> tuple[str, str, str]:
    """1,000 shares as users have them; a token, a share's id and a share network's id."""
    specs = {
        "driver_handles_share_servers": "True",
        "snapshot_support": "True",
        "create_share_from_snapshot_support": "True",
    }
    with database.begin() as connection:
        share_type = share_types.create(connection, "default", specs)
        network = share_networks.create(connection, "bench", "bench", name="net")
        share_networks.add_subnet(connection, network)
        for number in range(SHARES):
            share_id = f"{number:08}-0000-4000-8000-000000000000"
            row = {
                "id": share_id,
                "project_id": "0123456789abcdef0123456789abcdef",
                "user_id": "fedcba9876543210fedcba9876543210",
                "name": f"share number {number}",
                "description": "A share that stands for those that users have.",
                "size": 10,
                "share_proto": "NFS",
                "status": "available",
                "progress": "100%",
                "access_rules_status": "active",
                "share_type_id": share_type["id"],
                "share_network_id": network,
                "availability_zone": "nova",
                "host": "controller@local#pool",
                "is_public": False,
                "metadata": {"purpose": "home directories", "owner": "team storage"},
                "options": {"squash": "root_squash", "file_system": "ext4"},
                "updated_at": utcnow_text(),
            }
            shares.add(connection, row)
            location = {"path": f"10.88.0.4:/shares/{share_id}", "is_admin_only": False}
            export_locations.replace(connection, share_id, [location])
        token = tokens.create(connection, "bench", row["project_id"], "bench", ("member",))
        other = share_networks.create(connection, row["project_id"], "bench", name="net")
        share_networks.add_subnet(connection, other)
    return token, share_id, other


def settings_in(directory: str) -> Settings:
    return Settings(
        state_dir=Path(directory),
        quota=Quota(shares=-1, gigabytes=-1),
        log=Log(level="warning", format="json"),
    )


def measure(send: Send, cpu: Callable[[], float], share_id: str, network: str) -> dict[str, float]:
    """Milliseconds of CPU a request, by kind of request."""
    wish = {"share": {"share_proto": "NFS", "size": 1, "share_network_id": network}}
    kinds: dict[str, tuple[int, str, str, str, object]] = {
        "list": (20, "GET", "/v2/shares/detail", "2.65", None),
        "list 2.0": (20, "GET", "/v2/shares/detail", "2.0", None),
        "list limit=100": (50, "GET", "/v2/shares/detail?limit=100", "2.65", None),
        "show": (500, "GET", f"/v2/shares/{share_id}", "2.65", None),
        "create": (200, "POST", "/v2/shares", "2.65", wish),
    }
    found = {}
    for name, (times, method, path, version, body) in kinds.items():
        for _ in range(3):
            send(method, path, version, body)
        before = cpu()
        for _ in range(times):
            send(method, path, version, body)
        found[name] = (cpu() - before) / times * 1000
    return found


def in_process(directory: str) -> dict[str, float]:
    settings = settings_in(directory)
    log.configure(settings.log.level, settings.log.format)
    database = Database(settings.database_url)
    upgrade(database)
    token, share_id, network = fill(database)
    app = create_app(settings, database)
    client = TestClient(app)

    def send(method: str, path: str, version: str, body: object) -> int:
        headers = {"X-Auth-Token": token, HEADER: version}
        result = client.simulate_request(method, path, headers=headers, json=body)
        assert result.status_code == 200, result.text
        return len(result.content)

    print(f"list: {send('GET', '/v2/shares/detail', '2.65', None):,} bytes")
    return measure(send, time.process_time, share_id, network)


@contextmanager
def served(directory: str) -> Iterator[tuple[int, psutil.Process]]:
    """``atoll``'s API under gunicorn, one worker; its port and the worker's process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    environment = {
        **os.environ,
        "ATOLL_STATE_DIR": directory,
        "ATOLL_API__PORT": str(port),
        "ATOLL_QUOTA__SHARES": "-1",
        "ATOLL_QUOTA__GIGABYTES": "-1",
        "ATOLL_LOG__FORMAT": "json",
    }
    code = "from atoll.cli import api; from atoll import config; api.run(config.load())"
    with (Path(directory) / "log").open("wb") as output:
        process = subprocess.Popen([sys.executable, "-c", code], env=environment, stderr=output)
        try:
            parent = psutil.Process(process.pid)
            for _ in range(300):
                time.sleep(0.1)
                with socket.socket() as probe:
                    if probe.connect_ex(("127.0.0.1", port)) == 0 and parent.children():
                        break
            yield port, parent.children()[0]
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


def over_http(directory: str) -> dict[str, float]:
    settings = settings_in(directory)
    database = Database(settings.database_url)
    upgrade(database)
    token, share_id, network = fill(database)
    database.close()
    with served(directory) as (port, worker):
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
            times = worker.cpu_times()
            return times.user + times.system

        send("GET", f"/v2/shares/{share_id}", "2.65", None)
        parent = worker.parent()
        assert parent is not None
        print(f"memory fresh: {memory(parent):.0f} + {memory(worker):.0f} MiB (parent + worker)")
        found = measure(send, cpu, share_id, network)
        print(f"memory after: {memory(parent):.0f} + {memory(worker):.0f} MiB")
        return found


def memory(process: psutil.Process) -> float:
    return float(process.memory_info().rss) / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gunicorn", action="store_true")
    run = over_http if parser.parse_args().gunicorn else in_process
    with tempfile.TemporaryDirectory() as directory:
        found = run(directory)
    for name, milliseconds in found.items():
        target = TARGETS[name]
        verdict = "" if target is None else f"   (at most {target:g})"
        print(f"{name:16} {milliseconds:8.2f} ms CPU{verdict}")


if __name__ == "__main__":
    main()
