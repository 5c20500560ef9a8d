"""A private PostgreSQL cluster for the tests: own directory, unix socket only, no root."""

from __future__ import annotations

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import psycopg
from sqlalchemy import make_url

_numbers = itertools.count()
_KNOWS_ICU = _COPIES_FILES = 15
"""The first version whose databases may be sorted by ICU's rules, and which can be told to copy a
template's files, as all older ones do; by itself it writes them to its log as well."""
_MEMORY = Path("/dev/shm")
_ROOM = 4 << 30
"""Bytes that the databases of all tests may take; each is dropped after its test."""


def programs() -> Path | None:
    """Where the newest PostgreSQL's server programs are; None if there are none."""
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: p.parts[-3])
    return found[-1].parent if found else None


class Cluster:
    """A running PostgreSQL."""

    def __init__(self, bin_directory: Path) -> None:
        self._bin = bin_directory
        self._version = int(bin_directory.parts[-2])
        self._user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
        # Not under pytest's tmp_path: another user can't get there, and the path is long. In memory
        # where there is room: to make and to remove a database is to make and remove 300 files.
        in_memory = os.access(_MEMORY, os.W_OK) and shutil.disk_usage(_MEMORY).free > _ROOM
        base = _MEMORY if in_memory else None
        self.directory = Path(tempfile.mkdtemp(prefix="atoll-pg-", dir=base))
        shutil.chown(self.directory, self._user)
        data = self.directory / "data"
        # Names are sorted by a language's rules, as on most servers: the API must not show it.
        order = ["--locale-provider=icu", "--icu-locale=en-US"]
        subprocess.run(
            [
                *(self._bin / "initdb", "-D", data, "-U", "atoll", "-A", "trust", "-E", "UTF8"),
                *(order if self._version >= _KNOWS_ICU else ()),
            ],
            user=self._user,
            cwd="/",
            check=True,
            stdout=subprocess.DEVNULL,
        )
        self._server: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the server, and wait until it answers."""
        settings = {
            "listen_addresses": "",
            "unix_socket_directories": str(self.directory),
            "fsync": "off",
            "max_connections": "200",
            "shared_buffers": "32MB",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        with (self.directory / "log").open("ab") as log:
            self._server = subprocess.Popen(
                [self._bin / "postgres", "-D", self.directory / "data", *options],
                user=self._user if os.geteuid() == 0 else None,
                cwd="/",
                stdout=log,
                stderr=log,
            )
        self._wait()

    def stop(self) -> None:
        """Stop at once, as a failing machine would."""
        if self._server is not None:
            self._server.send_signal(3)  # SIGQUIT: immediate shutdown
            self._server.wait()
            self._server = None

    def remove(self) -> None:
        """Stop the server, and delete its data."""
        self.stop()
        shutil.rmtree(self.directory)

    def new_database(self, template: str = "template1") -> str:
        """Make a database; returns its URL."""
        name = f"atoll{next(_numbers)}"
        order = f"CREATE DATABASE {name} TEMPLATE {template}"
        self._execute(order + (" STRATEGY FILE_COPY" if self._version >= _COPIES_FILES else ""))
        return f"postgresql+psycopg://atoll@/{name}?host={self.directory}"

    def drop(self, url: str) -> None:
        """Remove a database, and end all connections to it."""
        self._execute(f"DROP DATABASE {make_url(url).database} WITH (FORCE)")

    def _execute(self, order: str) -> None:
        with psycopg.connect(self._conninfo("postgres"), autocommit=True) as connection:
            connection.execute(order.encode())

    def _conninfo(self, name: str) -> str:
        return f"host={self.directory} user=atoll dbname={name}"

    def _wait(self) -> None:
        deadline = time.monotonic() + 30
        while True:
            try:
                psycopg.connect(self._conninfo("postgres")).close()
                return
            except psycopg.OperationalError:
                assert self._server is not None
                assert self._server.poll() is None, (self.directory / "log").read_text()
                assert time.monotonic() < deadline, (self.directory / "log").read_text()
                time.sleep(0.05)
