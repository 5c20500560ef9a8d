"""What stands in memcached of a token: nobody can read it, or write a better one."""

from __future__ import annotations

import socketserver
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from falcon.testing import TestClient

pytest.importorskip("keystonemiddleware", reason="the extra [openstack] is not installed")

from atoll.api.app import create_app
from atoll.db.database import Database
from tests.api import keystones
from tests.api.conftest import Client
from tests.api.keystones import Keystone

keystone = keystones.keystone
pytestmark = pytest.mark.filterwarnings("ignore")


class Memcached(socketserver.ThreadingTCPServer):
    """Speaks as much of memcached's protocol as is needed to keep things."""

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Conversation)
        self.kept: dict[bytes, tuple[bytes, bytes]] = {}
        self.reads = 0


class _Conversation(socketserver.StreamRequestHandler):
    server: Memcached

    def handle(self) -> None:
        while words := self.rfile.readline().split():
            if words[0] == b"set":
                content = self.rfile.read(int(words[4]) + 2)[:-2]
                self.server.kept[words[1]] = words[2], content
                self.wfile.write(b"STORED\r\n")
            elif words[0] in (b"get", b"gets"):
                self.server.reads += 1
                for key in words[1:]:
                    if key in self.server.kept:
                        flags, content = self.server.kept[key]
                        self.wfile.write(b"VALUE %b %b %d\r\n" % (key, flags, len(content)))
                        self.wfile.write(content + b"\r\n")
                self.wfile.write(b"END\r\n")
            else:
                self.wfile.write(b"ERROR\r\n")


@pytest.fixture
def memcached() -> Iterator[Memcached]:
    with Memcached() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_nobody_reads_or_forges_what_is_kept_of_a_token(
    keystone: Keystone, memcached: Memcached, tmp_path: Path, database: Database
) -> None:
    address = f"127.0.0.1:{memcached.server_address[1]}"
    settings = keystone.settings(tmp_path, memcached_servers=(address,))
    token = keystones.token(keystone.person("member", project="blue"))

    def ask() -> int:
        """By an API process that has just been started."""
        client = Client(TestClient(create_app(settings, database)), token, "")
        return int(client("GET", "/shares").status_code)

    assert ask() == 200
    assert memcached.kept, "it is kept"
    for key, (_, content) in memcached.kept.items():
        for secret in (b"member", keystone.project("blue").encode(), token.encode()):
            assert secret not in content
            assert secret not in key
    reads = memcached.reads
    assert ask() == 200
    assert memcached.reads > reads

    genuine = dict(memcached.kept)
    for key, (flags, content) in genuine.items():
        memcached.kept[key] = flags, content[:-9] + bytes(reversed(content[-9:]))
    assert ask() == 200, "Keystone is asked instead"
    if keystone.double is not None:
        another = keystones.token(keystone.person("admin", project="red"))
        memcached.kept.clear()
        client = Client(TestClient(create_app(settings, database)), another, "")
        assert client("GET", "/services").status_code == 200
        ((flags, admins),) = memcached.kept.values()
        memcached.kept = dict.fromkeys(genuine, (flags, admins))
        client = Client(TestClient(create_app(settings, database)), token, "")
        assert client("GET", "/services").status_code == 403, "an administrator's entry is no use"
