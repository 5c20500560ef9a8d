"""Runs ``atoll serve`` in its own state directory."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any


def free_port() -> int:
    """A free port on loopback."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Service:
    """One ``atoll serve`` process with its configuration file."""

    def __init__(self, state: Path, *, config: str = "", ready_seconds: float = 120) -> None:
        self.state = state
        self.url = f"http://127.0.0.1:{free_port()}"
        self.log = state / "serve.log"
        self._ready_seconds = ready_seconds
        self._process: subprocess.Popen[bytes] | None = None
        self.config = state / "atoll.toml"
        state.mkdir(mode=0o711, parents=True, exist_ok=True)
        self.configure(config)

    def configure(self, config: str) -> None:
        """Write the configuration file, which takes effect at the next start."""
        port = self.url.rpartition(":")[2]
        self.config.write_text(
            f'state_dir = "{self.state}"\n{config}\n[api]\nport = {port}\n', encoding="utf-8"
        )

    @property
    def endpoint(self) -> str:
        """The URL for clients."""
        return f"{self.url}/v2"

    @property
    def token(self) -> str:
        """The first token."""
        return (self.state / "admin.token").read_text().strip()

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self._process is not None
        return self._process.pid

    def start(self) -> None:
        """Start the service, and wait until the API answers and a worker is alive."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("serve"), stdout=log, stderr=log, start_new_session=True
            )
        deadline = time.monotonic() + self._ready_seconds
        while not self._healthy():
            if self._process.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(self.log.read_text().splitlines()[-20:])
                raise RuntimeError(f"atoll serve did not start; the end of its log:\n{tail}")
            time.sleep(0.2)

    def stop(self) -> None:
        """End the service by SIGTERM. The service instances continue to serve."""
        if self._process is None or self._process.poll() is not None:
            return
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(timeout=60)

    def run(self, *arguments: str) -> str:
        """Run another ``atoll`` command with the same configuration; return its output."""
        done = subprocess.run(
            self._command(*arguments), capture_output=True, text=True, check=False, timeout=300
        )
        if done.returncode:
            raise RuntimeError(f"atoll {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def children(self) -> dict[str, int]:
        """Process ids of the ``api`` and the ``worker``."""
        found: dict[str, int] = {}
        tasks = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        for child in map(int, tasks):
            words = Path(f"/proc/{child}/cmdline").read_bytes().split(b"\0")
            if len(words) > 1:  # a process that has just died has none
                found[words[-2].decode()] = child
        return found

    def health(self) -> dict[str, Any]:
        """The body of ``/healthcheck``, healthy or not."""
        try:
            with urllib.request.urlopen(f"{self.url}/healthcheck", timeout=5) as answer:
                body = answer.read()
        except urllib.error.HTTPError as error:
            body = error.read()
        state: dict[str, Any] = json.loads(body)
        return state

    def _healthy(self) -> bool:
        try:
            return bool(self.health()["healthy"])
        except (OSError, ValueError):
            return False

    def _command(self, *arguments: str) -> list[str]:
        python = os.environ.get("ATOLL_PYTHON", sys.executable)
        return [python, "-m", "atoll.cli.main", "--config", str(self.config), *arguments]
