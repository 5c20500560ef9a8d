"""A TCP proxy in front of a database, which a test can freeze: the database then seems silent."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy.engine import make_url

PROGRAM = """
import select, socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])), backlog=128)
pairs = {}
while True:
    for ready in select.select([server, *pairs], [], [])[0]:
        if ready is server:
            near, far = server.accept()[0], socket.socket(socket.AF_UNIX)
            far.connect(sys.argv[2])
            pairs[near], pairs[far] = far, near
        elif ready in pairs:
            try:
                data = ready.recv(65536)
                pairs[ready].sendall(data)
            except OSError:
                data = b""
            if not data:
                other = pairs.pop(ready)
                pairs.pop(other)
                ready.close()
                other.close()
"""


class FreezableProxy:
    """The proxy; ``url`` connects through it."""

    def __init__(self, url: str) -> None:
        parts = make_url(url)
        self.direct = url
        directory = str(parts.query["host"])
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.url = parts.set(host="127.0.0.1", port=port, query={}).render_as_string()
        command = [sys.executable, "-c", PROGRAM, str(port), f"{directory}/.s.PGSQL.5432"]
        self._process = subprocess.Popen(command)
        end = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
            except OSError:
                assert time.monotonic() < end
                time.sleep(0.02)
            else:
                return

    def freeze(self) -> None:
        """Stop passing data on, without closing any connection."""
        os.kill(self._process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        """Go on."""
        os.kill(self._process.pid, signal.SIGCONT)

    def remove(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()


@contextmanager
def freezable_proxy(url: str) -> Iterator[FreezableProxy]:
    """A proxy in front of that database."""
    made = FreezableProxy(url)
    try:
        yield made
    finally:
        made.remove()
