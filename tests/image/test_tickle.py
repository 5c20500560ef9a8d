"""Clients of a server that was lost are woken, by real connections between network namespaces."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from atoll.image.recipe import FILES

pytestmark = pytest.mark.root

PROGRAM = FILES / "rootfs/usr/lib/atoll/atoll-tickle"
LISTEN = """
import socket, sys
server = socket.create_server((sys.argv[1], 2049), family=socket.AF_INET6 if ":" in sys.argv[1]
                              else socket.AF_INET)
print("ready", flush=True)
connection, _ = server.accept()
connection.recv(1)
"""
CONNECT = """
import socket, sys
connection = socket.create_connection((sys.argv[1], 2049))
print("ready", flush=True)
try:
    connection.recv(1)
except ConnectionResetError:
    print("reset", flush=True)
"""


def ip(*arguments: str) -> str:
    done = subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)
    return done.stdout


@pytest.fixture
def namespaces() -> Iterator[tuple[str, str]]:
    """A server's and a client's, with one link between them."""
    server, client = (f"atoll-{role}-{uuid4().hex[:6]}" for role in ("s", "c"))
    ip("netns", "add", client)
    make_server(server, client)
    try:
        yield server, client
    finally:
        for name in (server, client):
            ip("netns", "delete", name)


def make_server(server: str, client: str) -> None:
    ip("netns", "add", server)
    ip("-n", server, "link", "add", "v", "type", "veth", "peer", "v", "netns", client)
    for name, number in ((server, 1), (client, 2)):
        ip("-n", name, "addr", "add", f"192.0.2.{number}/24", "dev", "v")
        ip("-n", name, "addr", "add", f"2001:db8::{number}/64", "dev", "v", "nodad")
        ip("-n", name, "link", "set", "v", "up")


def start(namespace: str, script: str, address: str) -> subprocess.Popen[str]:
    """A program in the namespace, once it says that it is ready."""
    program = ["ip", "netns", "exec", namespace, sys.executable, "-c", script, address]
    started = subprocess.Popen(program, stdout=subprocess.PIPE, text=True)
    assert started.stdout is not None
    assert started.stdout.readline() == "ready\n"
    return started


def connections(namespace: str) -> str:
    """What atoll-nfsd would have written."""
    tables = ip("netns", "exec", namespace, "cat", "/proc/net/tcp", "/proc/net/tcp6")
    rows = [line.split() for line in tables.splitlines()]
    return "".join(
        f"{row[1]} {row[2]}\n" for row in rows if row[1].endswith(":0801") and row[3] == "01"
    )


@pytest.mark.parametrize("address", ["192.0.2.1", "2001:db8::1"])
def test_a_client_notices_at_once_that_its_server_was_lost(
    namespaces: tuple[str, str], tmp_path: Path, address: str
) -> None:
    server, client = namespaces
    listener = start(server, LISTEN, address)
    connected = start(client, CONNECT, address)
    lost = tmp_path / "connections.lost"
    lost.write_text(connections(server))
    assert len(lost.read_text().splitlines()) == 1
    ip("-n", client, "link", "delete", "v")  # so that the client learns nothing
    listener.kill()
    listener.communicate()
    ip("netns", "delete", server)
    make_server(server, client)
    woken = ["ip", "netns", "exec", server, sys.executable, str(PROGRAM), str(lost)]
    began = time.monotonic()
    told = subprocess.Popen(woken, stdout=subprocess.PIPE, text=True)
    words, _ = connected.communicate(timeout=60)
    assert words == "reset\n"
    assert time.monotonic() - began < 5
    told.communicate(timeout=60)
    assert told.returncode == 0
    assert not lost.exists()
