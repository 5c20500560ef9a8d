"""``atoll serve`` on the simulated cloud, for tests through Manila's own clients."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

STARTS_WITHIN = 60.0


@dataclass
class Server:
    """``atoll serve`` on the simulated cloud."""

    url: str
    token: str
    state: Path
    credentials: Mapping[str, str] = field(default_factory=dict)
    """``OS_…`` variables in place of the token."""

    def openstack(self, *commands: str) -> list[Any]:
        """Run ``openstack share …`` commands; what each printed, as JSON. All must succeed."""
        outcomes = self.attempt(*commands)
        for command, outcome in zip(commands, outcomes, strict=True):
            assert outcome["code"] == 0, (command, outcome["err"])
        return [
            json.loads(one["out"]) if one["out"].lstrip()[:1] in ("[", "{") else None
            for one in outcomes
        ]

    def attempt(self, *commands: str) -> list[dict[str, Any]]:
        """Run them, and whatever comes of it."""
        arguments = [
            ["share", *command.split(), *(("-f", "json") if _prints(command) else ())]
            for command in commands
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
            **(self.credentials or self._token()),
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("osc.py"))],
            input=json.dumps(arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=280,
            check=True,
        )
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes

    def _token(self) -> dict[str, str]:
        return {"OS_AUTH_TYPE": "admin_token", "OS_ENDPOINT": self.url, "OS_TOKEN": self.token}


def _prints(command: str) -> bool:
    """Whether the command has something to show, and so can show it as JSON."""
    words = set(command.split())
    return bool(words & {"list", "show", "create"}) and "access" not in words


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("state")
    with serving(state) as url:
        yield Server(url, (state / "admin.token").read_text().strip(), state)


@contextmanager
def serving(state: Path, options: Mapping[str, str] | None = None) -> Iterator[str]:
    """Run it, with more ``ATOLL_…`` variables; its URL once it is up."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "ATOLL_STATE_DIR": str(state),
        "ATOLL_CLOUD": "memory",
        "ATOLL_API__PORT": str(port),
        **(options or {}),
    }
    log = (state / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli.main", "serve"],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/healthcheck", process, state)
        yield f"http://127.0.0.1:{port}/v2"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], state: Path) -> None:
    """Until a worker is up, too."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            said = (state / "serve.log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.3)
