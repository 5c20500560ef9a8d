"""``atoll api`` alone, as a process, and raw connections to it."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from atoll.cli import bootstrap, process
from atoll.config import Settings
from atoll.db.database import Database


@dataclass
class Api:
    """A running API."""

    port: int
    process: subprocess.Popen[bytes]
    state: Path
    token: str

    def connect(self) -> socket.socket:
        """A connection that has sent nothing yet."""
        return socket.create_connection(("127.0.0.1", self.port), timeout=20)

    def send(self, text: str | bytes) -> socket.socket:
        """A connection that has sent this."""
        connection = self.connect()
        connection.sendall(text.encode() if isinstance(text, str) else text)
        return connection

    def say(self, text: str | bytes) -> bytes:
        """What is answered until the server closes or ten seconds are over."""
        with self.send(text) as connection:
            return read_all(connection)

    def ask(
        self, path: str = "/v2/", method: str = "GET", seconds: float = 20, body: str | None = None
    ) -> tuple[int, bytes, float]:
        """Status, body and seconds of an ordinary request."""
        begun = time.monotonic()
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=seconds)
        try:
            connection.request(method, path, body, headers={"X-Auth-Token": self.token})
            answer = connection.getresponse()
            content = answer.read()
        finally:
            connection.close()
        return answer.status, content, time.monotonic() - begun

    def cpu(self) -> float:
        """CPU seconds of the process so far."""
        times = psutil.Process(self.process.pid).cpu_times()
        return float(times.user + times.system)


def read_all(connection: socket.socket, seconds: float = 10) -> bytes:
    """Everything until the other side closes."""
    connection.settimeout(seconds)
    found = b""
    try:
        while piece := connection.recv(65536):
            found += piece
    except ConnectionResetError:
        pass
    return found


def is_closed(connection: socket.socket, seconds: float) -> bool:
    """Whether the other side closes within so many seconds, whatever it says before."""
    end = time.monotonic() + seconds
    try:
        while (rest := end - time.monotonic()) > 0:
            connection.settimeout(rest)
            if not connection.recv(65536):
                return True
    except TimeoutError:
        return False
    except (ConnectionResetError, BrokenPipeError):
        return True
    return False


@contextmanager
def live(state: Path, url: str = "", *, descriptors: int = 0, **options: object) -> Iterator[Api]:
    """Run it on a prepared database; ``options`` are settings, ``descriptors`` a limit of files."""
    settings = Settings(state_dir=state, cloud="memory")
    database = Database(url or settings.database_url)
    prepared = bootstrap.prepare(settings, database)
    database.close()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment: Mapping[str, str] = {
        **process.environment(),
        "ATOLL_CONFIG": os.devnull,
        "ATOLL_CLOUD": "memory",
        "ATOLL_STATE_DIR": str(state),
        "ATOLL_API__PORT": str(port),
        **({"ATOLL_DATABASE__URL": url} if url else {}),
        **{f"ATOLL_{name.upper()}": str(value) for name, value in options.items()},
    }
    with (state / "api.log").open("wb") as log:
        command = [*process.command(None), "api"]
        if descriptors:
            command = ["prlimit", f"--nofile={descriptors}:{descriptors}", *command]
        running = subprocess.Popen(command, env=environment, stderr=log)
        api = Api(port, running, state, prepared.token_file.read_text().strip())
        try:
            _until_it_answers(api)
            yield api
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(20)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


def _until_it_answers(api: Api) -> None:
    end = time.monotonic() + 60
    while True:
        try:
            api.ask()
        except OSError:
            said = (api.state / "api.log").read_text()
            assert api.process.poll() is None, said
            assert time.monotonic() < end, said
            time.sleep(0.05)
        else:
            return
