"""Keeps the API and the worker running as two children of one small process.

``atoll serve`` execs this program once all is prepared. It imports only little of the standard
library, so that it needs little memory and is reliable. Run it as
``python -m atoll.cli.supervise READY_TEXT_FILE API_HOST API_PORT COMMAND...``.
"""

from __future__ import annotations

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

ROLES = ("api", "worker")
GRACE = 20.0
"""Seconds that a child may take to end after SIGTERM."""
LONGEST_PAUSE = 30.0


class Child:
    """One of the two processes, which is restarted if it ends unexpectedly."""

    def __init__(self, role: str, command: list[str]) -> None:
        self._command = [*command, role]
        self._pause = 0.5
        self._start_at = 0.0
        self._started = 0.0
        self.role = role
        self.process: subprocess.Popen[bytes] | None = None

    def tend(self) -> None:
        """Start the process if it does not run, after a growing pause if it dies repeatedly."""
        now = time.monotonic()
        if self.process is not None:
            code = self.process.poll()
            if code is None:
                return
            print(
                f"atoll: the {self.role} ended with status {code}, starting it again",
                file=sys.stderr,
                flush=True,
            )
            lived = now - self._started
            self._pause = 0.5 if lived > 60 else min(self._pause * 2, LONGEST_PAUSE)
            self._start_at = now + self._pause
            self.process = None
        if now >= self._start_at:
            self._started = now
            self.process = subprocess.Popen(self._command)

    def end(self, deadline: float) -> None:
        """Wait until the process has ended, and kill it at ``deadline``."""
        if self.process is None or self.process.poll() is not None:
            return
        try:
            self.process.wait(timeout=max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def serves(host: str, port: int) -> bool:
    """Whether the API is healthy, which includes a live worker."""
    request = f"GET /healthcheck HTTP/1.0\r\nHost: {host}\r\n\r\n"
    try:
        # urllib would double this process's size.
        with socket.create_connection((host, port), timeout=2) as connection:
            connection.sendall(request.encode())
            return b" 200 " in connection.recv(64).partition(b"\r\n")[0]
    except OSError:
        return False


def main() -> int:
    """Run both children until a signal comes."""
    ready_file, host, port, *command = sys.argv[1:]
    children = [Child(role, command) for role in ROLES]
    stopping = False

    def stop(*_: int | FrameType | None) -> None:
        nonlocal stopping
        stopping = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    announced = False
    while not stopping:
        for child in children:
            child.tend()
        if not announced and serves(host, int(port)):
            announced = True
            print(Path(ready_file).read_text(), flush=True)
        time.sleep(0.2)
    for child in children:
        if child.process is not None:
            child.process.terminate()
    deadline = time.monotonic() + GRACE
    for child in children:
        child.end(deadline)
    return 0


if __name__ == "__main__":
    sys.exit(main())
