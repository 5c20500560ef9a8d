"""``atoll serve`` on the simulated cloud, and a client of its API."""

from __future__ import annotations

import http.client
import json
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import psutil

from harness.service import Service
from harness.wait import wait

CONFIG = """\
cloud = "memory"
[quota]
shares = -1
gigabytes = -1
share_networks = -1
[log]
level = "warning"
[worker]
reconcile_interval = 3600
"""
CLIENTS = 8
"""Number of parallel requests, which is the API's number of threads."""

IDLE_SECONDS = 2.0
"""Seconds after which the API may have closed an idle connection."""


S = TypeVar("S", bound="BenchDeployment")


class BenchDeployment(Service):
    """One deployment. Each thread keeps a connection for its requests."""

    def __init__(self, state: Path, *, config: str = CONFIG) -> None:
        super().__init__(state, config=config)
        self._local = threading.local()

    # --- requests ---------------------------------------------------------------------------

    def send(self, method: str, path: str, body: Any = None) -> bytes:
        """Send one request; return the answer's body. Raises unless it succeeds."""
        connection = getattr(self._local, "connection", None)
        if connection is None or time.monotonic() - self._local.used > IDLE_SECONDS:
            connection = http.client.HTTPConnection(self.url.removeprefix("http://"))
            self._local.connection = connection
        headers = {"X-Auth-Token": self.token, "X-OpenStack-Manila-API-Version": "2.65"}
        text = None if body is None else json.dumps(body)
        try:
            connection.request(method, f"/v2{path}", text, headers)
            answer = connection.getresponse()
            content: bytes = answer.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise
        self._local.used = time.monotonic()
        if answer.status >= 400:
            raise RuntimeError(f"{method} {path}: {answer.status} {content.decode()}")
        return content

    def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send one request; return its JSON."""
        content = self.send(method, path, body)
        return json.loads(content) if content else None

    def share_network(self, name: str) -> str:
        """Create a share network; return its id."""
        wish = {"share_network": {"name": name}}
        return str(self.call("POST", "/share-networks", wish)["share_network"]["id"])

    def create(self, network: str) -> str:
        """Request a share; return its id."""
        wish = {"share": {"share_proto": "NFS", "size": 1, "share_network_id": network}}
        return str(self.call("POST", "/shares", wish)["share"]["id"])

    def allow(self, share: str, address: str) -> str:
        """Request an access rule; return its id."""
        rule = {"access_type": "ip", "access_to": address, "access_level": "rw"}
        action = {"allow_access": rule}
        return str(self.call("POST", f"/shares/{share}/action", action)["access"]["id"])

    def many(self, call: Callable[[int], Any], count: int) -> list[Any]:
        """Call ``call`` with 0 … count-1, several at once."""
        with ThreadPoolExecutor(CLIENTS) as pool:
            return list(pool.map(call, range(count)))

    def fill(self, networks: int, shares: int) -> list[str]:
        """Create shares on share networks; return their ids once all are available."""
        nets = [self.share_network(f"bench {number}") for number in range(networks)]
        made = self.many(lambda number: self.create(nets[number % networks]), shares)
        self.until(lambda: self.available() >= shares, pause=0.1)
        return made

    def available(self) -> int:
        """How many shares are available."""
        answer = self.call("GET", "/shares?status=available&limit=1&with_count=true")
        return int(answer["count"])

    def until(self, look: Callable[[], bool], pause: float = 0.001, seconds: float = 300) -> None:
        """Wait until ``look`` returns true."""
        wait(f"what {self.log} should show", look, seconds, pause)

    # --- processes --------------------------------------------------------------------------

    def processes(self) -> dict[str, psutil.Process]:
        """All processes of ``atoll serve`` by role."""
        parent = psutil.Process(self.pid)
        found = {"supervisor": parent}
        for child in parent.children(recursive=True):
            role = child.cmdline()[-1]
            found[role if role not in found else f"{role} {child.pid}"] = child
        return found

    def cpu(self, role: str) -> float:
        """CPU seconds that a process has used."""
        times = self.processes()[role].cpu_times()
        return float(times.user + times.system)


@contextmanager
def deployment(config: str = CONFIG) -> Iterator[BenchDeployment]:
    """Run a deployment in a temporary directory."""
    with tempfile.TemporaryDirectory(prefix="atoll-bench-") as directory:
        made = BenchDeployment(Path(directory) / "state", config=config)
        made.start()
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def on_a_real_cloud(made: S) -> Iterator[S]:
    """Start a deployment; purge what it has made in its cloud afterwards."""
    made.start()
    try:
        made.until(lambda: b'"worker.set_up"' in made.log.read_bytes(), pause=0.1)
        yield made
    finally:
        made.stop()
        made.run("purge", "--yes")
