"""The API as its unit runs it: a user of its own, no capability, nothing to write but the database.

The worker is root. There is no systemd here, so ``unshare``, ``mount`` and ``setpriv`` do what the
unit asks for.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

from harness.wait import NotInTime, wait

USER = 61184  # of nobody's; systemd's dynamic users begin here
SOURCES = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.slow,
    pytest.mark.root,  # becomes another user
]


def confined(state: Path, argv: list[str]) -> list[str]:
    """``argv`` as that user: all of the state directory but the database hidden, / read-only.

    Home directories are hidden, too, except for this checkout and its Python.
    """
    database, needed = state / "database", (SOURCES, Path(sys.base_prefix))
    homes = {Path("/root"), *(each for path in needed for each in path.parents if closed(each))}
    outer = sorted(home for home in homes if homes.isdisjoint(home.parents))
    kept = [(path, state / "needed" / str(number)) for number, path in enumerate(needed)]
    keep = [f"mkdir -p {place}; mount --rbind {path} {place}" for path, place in kept]
    hide = [f"mount -t tmpfs -o mode=755 tmpfs {home}" for home in outer]
    give = [f"mkdir -p {path}; mount --rbind {place} {path}" for path, place in kept]
    script = f"""
    set -e
    mount --make-rprivate /
    {"; ".join([*keep, *hide, *give])}
    mount --bind {database} {database}
    mount -o remount,bind,ro /
    exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs \\
        --bounding-set=-all --inh-caps=-all {shlex.join(argv)}
    """
    return ["unshare", "--mount", "sh", "-c", script]


def closed(directory: Path) -> bool:
    """Whether other users can't reach what is in the directory."""
    return not directory.stat().st_mode & stat.S_IXOTH


class Deployment:
    """Directories as atoll.tmpfiles makes them, a configuration file, and what runs on them."""

    def __init__(self, state: Path, url: str) -> None:
        self.state = state
        state.chmod(0o711)
        shared = state / "database"
        shared.mkdir()
        os.chown(shared, 0, USER)
        shared.chmod(0o2770)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.database = shared / "atoll.sqlite"
        self.config = state / "atoll.toml"
        self.config.write_text(
            f'state_dir = "{state}"\ncloud = "memory"\n[api]\nport = {self.port}\n'
            f'[database]\nurl = "{url or f"sqlite:///{self.database}"}"\n'
        )
        os.chown(self.config, 0, USER)
        self.config.chmod(0o640)
        self.url = f"http://127.0.0.1:{self.port}"

    def atoll(self, *words: str) -> list[str]:
        return [sys.executable, "-P", "-m", "atoll.cli.main", "--config", str(self.config), *words]

    @contextmanager
    def running(self, argv: list[str]) -> Iterator[subprocess.Popen[bytes]]:
        with (self.state / "log").open("ab") as log:
            process = subprocess.Popen(argv, stdout=log, stderr=log, cwd="/")
            try:
                yield process
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait(30)

    def until(self, look: Callable[[], Any], what: str) -> Any:
        try:
            return wait(what, look, 60)
        except NotInTime as error:
            raise NotInTime(f"{error}: {(self.state / 'log').read_text()[-3000:]}") from error

    def answers(self) -> bool:
        try:
            return requests.get(f"{self.url}/healthcheck", timeout=5).status_code < 600
        except requests.RequestException:
            return False

    def call(self, method: str, path: str, body: Any = None) -> Any:
        token = (self.state / "admin.token").read_text().strip()
        headers = {"X-Auth-Token": token, "X-OpenStack-Manila-API-Version": "2.51"}
        answer = requests.request(
            method, f"{self.url}/v2{path}", json=body, headers=headers, timeout=30
        )
        assert answer.ok, answer.text
        return answer.json()

    def make_a_share(self) -> None:
        [network] = self.call("GET", "/share-networks")["share_networks"]
        wish = {"share_proto": "NFS", "size": 1, "share_network_id": network["id"]}
        share = self.call("POST", "/shares", {"share": wish})["share"]

        def status() -> str:
            return str(self.call("GET", f"/shares/{share['id']}")["share"]["status"])

        self.until(lambda: status() == "available", "the share")


@pytest.fixture
def state() -> Iterator[Path]:
    path = Path(tempfile.mkdtemp(prefix="atoll-user-", dir="/var/tmp"))
    yield path
    shutil.rmtree(path)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.postgres)])
def deployment(request: pytest.FixtureRequest, state: Path) -> Deployment:
    url = ""
    if request.param == "postgres":
        cluster = request.getfixturevalue("cluster")
        cluster.directory.chmod(0o711)
        url = cluster.new_database()
    return Deployment(state, url)


def tried(deployment: Deployment, command: str) -> subprocess.CompletedProcess[bytes]:
    """What the API's process could do."""
    argv = confined(deployment.state, ["sh", "-c", command])
    return subprocess.run(argv, capture_output=True, check=False, timeout=60)


@pytest.mark.parametrize("first", ["api", "worker"])
def test_the_api_needs_no_root(deployment: Deployment, first: str) -> None:
    """Whichever of the two makes the database's files first."""
    subprocess.run(deployment.atoll("bootstrap"), check=True, cwd="/", capture_output=True)
    api = confined(deployment.state, deployment.atoll("api"))
    worker = deployment.atoll("worker")
    one, other = (api, worker) if first == "api" else (worker, api)
    with deployment.running(one):
        if first == "api":
            deployment.until(deployment.answers, "the API")
        else:
            deployment.until((deployment.state / "secret.key").exists, "the worker")
        with deployment.running(other):
            deployment.until(deployment.answers, "the API")
            deployment.make_a_share()
            files = list((deployment.state / "database").iterdir())
            for file in files:
                found = file.stat()
                assert found.st_gid == USER, file
                modes = (0o750, 0o2770) if file.is_dir() else (0o660,)
                assert stat.S_IMODE(found.st_mode) in modes, file
            if deployment.database in files:
                names = {file.name.removeprefix("atoll.sqlite") for file in files}
                assert names >= {"", "-wal", "-shm", ".doorbell"}
                for door in Path(f"{deployment.database}.doorbell").iterdir():
                    assert stat.S_IMODE(door.stat().st_mode) == 0o660
                    assert door.stat().st_gid == USER


def test_the_api_reads_no_secret_and_writes_nothing_else(deployment: Deployment) -> None:
    subprocess.run(deployment.atoll("bootstrap"), check=True, cwd="/", capture_output=True)
    with deployment.running(deployment.atoll("worker")):
        deployment.until((deployment.state / "secret.key").exists, "the worker")
    for secret in ("secret.key", "admin.token"):
        assert tried(deployment, f"cat {deployment.state}/{secret}").returncode != 0
    assert tried(deployment, f"ls {deployment.state}").returncode != 0
    assert tried(deployment, f"touch {deployment.state}/new").returncode != 0
    assert tried(deployment, f"touch {deployment.state}/database/new").returncode == 0
    assert tried(deployment, f"cat {deployment.config}").returncode == 0


def test_a_database_of_another_user_is_refused_with_a_sentence(state: Path) -> None:
    deployment = Deployment(state, "")
    subprocess.run(deployment.atoll("bootstrap"), check=True, cwd="/", capture_output=True)
    deployment.database.chmod(0o600)
    argv = confined(state, deployment.atoll("api"))
    done = subprocess.run(argv, capture_output=True, check=False, timeout=60, text=True)
    assert done.returncode == 1
    assert "This process may not write the database" in done.stderr
    assert "Traceback" not in done.stderr


def test_without_a_shared_directory_the_files_are_the_makers_alone(state: Path) -> None:
    deployment = Deployment(state, "")
    deployment.database.parent.chmod(0o700)
    subprocess.run(deployment.atoll("bootstrap"), check=True, cwd="/", capture_output=True)
    assert stat.S_IMODE(deployment.database.stat().st_mode) == 0o600


def test_the_unit_says_so() -> None:
    """What the tests above do by hand is what systemd is asked for."""
    unit = (SOURCES / "systemd/atoll-api.service").read_text().splitlines()
    wanted = {
        "User=atoll",
        "CapabilityBoundingSet=",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "TemporaryFileSystem=/var/lib/atoll:ro",
        "BindPaths=-/var/lib/atoll/database",
    }
    assert wanted <= {*unit}
    assert not any(line.startswith("StateDirectory=") for line in unit)  # it would be given away
    layout = (SOURCES / "systemd/atoll.tmpfiles").read_text()
    assert "d /var/lib/atoll/database 2770 root atoll" in layout
