"""A database works on its own cloud only, and a copy of it on none."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import delete, insert, text

from atoll.cli import home
from atoll.cloud.memory import MemoryCloud
from atoll.config import DatabaseSettings, Settings
from atoll.db import whereabouts
from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.db.tables import deployment
from atoll.errors import ConfigurationError

pytestmark = pytest.mark.timeout(300)
SECONDS = 60.0


class MemoryState:
    """A machine with a state directory, on the simulated cloud, and the commands there."""

    def __init__(
        self, state: Path, url: str, machine_id: Path | None = None, **variables: str
    ) -> None:
        self.state, self.url = state, url
        self._before: tuple[str, ...] = ()
        if machine_id is not None:  # in a mount namespace where the machine has that id
            put = f"mount --bind {machine_id} {whereabouts.MACHINE_ID}"
            self._before = ("unshare", "--mount", "sh", "-ec", f'{put}; exec "$@"', "sh")
        self._environment = {
            **os.environ,
            "ATOLL_STATE_DIR": str(state),
            "ATOLL_CLOUD": "memory",
            "ATOLL_HOST": "storage1",
            "ATOLL_DATABASE__URL": url,
            **variables,
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*self._before, sys.executable, "-m", "atoll.cli.main", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS,
        )

    def worker(self) -> str:
        """Start one: what it says when it gives up, or nothing, once it works. Then it is ended."""
        self.state.mkdir(exist_ok=True)
        log = self.state / "log"
        argv = [*self._before, sys.executable, "-m", "atoll.cli.process", "worker"]
        with log.open("wb") as file:
            process = subprocess.Popen(argv, env=self._environment, stderr=file)
        end = time.monotonic() + SECONDS
        try:
            while process.poll() is None and "worker.started" not in log.read_text():
                assert time.monotonic() < end, log.read_text()
                time.sleep(0.05)
            return "" if process.returncode is None else log.read_text()
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def place(tmp_path: Path, database_url: str) -> MemoryState:
    """A deployment whose worker has worked."""
    made = MemoryState(tmp_path / "state", database_url)
    assert made.run("bootstrap").returncode == 0
    assert made.worker() == ""
    return made


REFUSED = (("orphan", "list"), ("server", "list"), ("purge", "--yes", "--even-under-a-live-worker"))


def refusal(place: MemoryState, *arguments: str) -> str:
    """What the command says when it is refused."""
    done = place.run(*arguments)
    assert done.returncode == 1, done.stdout
    return done.stderr


def assert_refused(said: str, *words: str) -> None:
    for word in (*words, "atoll claim --yes"):
        assert word in said


def found_wrong(place: MemoryState) -> str:
    """What the doctor finds, and says to do."""
    found = json.loads(place.run("doctor", "--json").stdout)
    return " ".join(f"{each['detail']} {each['todo']}" for each in found if not each["ok"])


def test_the_own_cloud_is_used_again(place: MemoryState) -> None:
    assert place.worker() == ""
    done = place.run("orphan", "list")
    assert done.returncode == 0, done.stderr


def test_another_cloud_of_the_same_kind_is_refused(place: MemoryState, tmp_path: Path) -> None:
    other = MemoryState(tmp_path / "other", place.url)
    said = [other.worker(), *(refusal(other, *argv) for argv in REFUSED), found_wrong(other)]
    for sentence in said:
        assert_refused(sentence, "simulated cloud", "another cloud")
    assert place.worker() == ""


@pytest.mark.parametrize("kind", ["local", "openstack"])
def test_another_kind_of_cloud_is_refused(place: MemoryState, kind: str) -> None:
    other = MemoryState(place.state, place.url, ATOLL_CLOUD=kind)
    for sentence in (other.worker(), refusal(other, "bootstrap")):
        assert_refused(sentence, "in the simulated cloud", "another cloud")
    assert not (place.state / "local").exists()


def test_an_operator_may_take_a_new_cloud(place: MemoryState, tmp_path: Path) -> None:
    other = MemoryState(tmp_path / "other", place.url)
    assert "--yes" in refusal(other, "claim")
    assert other.worker() != ""
    done = other.run("claim", "--yes")
    assert done.returncode == 0, done.stderr
    assert other.worker() == ""
    assert_refused(place.worker(), "another cloud")


def copied(place: MemoryState, tmp_path: Path) -> MemoryState:
    """The database's copy, on a test machine that has the same credentials for the cloud."""
    if place.url.startswith("sqlite"):
        url = f"sqlite:///{tmp_path}/copy.sqlite"
        with closing(Database(place.url)) as database, database.begin() as connection:
            connection.execute(text("SELECT 1"))
            shutil.copy(place.url.removeprefix("sqlite:///"), tmp_path / "copy.sqlite")
            for suffix in ("-wal", "-shm"):
                log = Path(place.url.removeprefix("sqlite:///") + suffix)
                if log.exists():
                    shutil.copy(log, f"{tmp_path}/copy.sqlite{suffix}")
        testing = tmp_path / "machine-id"
        testing.write_text("0123456789abcdef0123456789abcdef\n")
        has_id = whereabouts.MACHINE_ID.exists() and whereabouts.MACHINE_ID.stat().st_size > 30
        return MemoryState(place.state, url, testing if has_id else None, ATOLL_HOST="testing")
    name = place.url.partition("?")[0].rsplit("/", 1)[1]
    copy = place.url.replace(f"/{name}", f"/{name}_copy", 1)
    from sqlalchemy import create_engine

    engine = create_engine(copy.replace(f"/{name}_copy", "/postgres", 1))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        ended = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = :name"
        connection.execute(text(ended), {"name": name})  # a template must not be in use
        connection.execute(text(f'CREATE DATABASE "{name}_copy" TEMPLATE "{name}"'))
    engine.dispose()
    return MemoryState(place.state, copy)


@pytest.mark.root  # gives the copy's machine another id
def test_a_copy_of_the_database_is_refused_until_it_is_claimed(
    place: MemoryState, tmp_path: Path
) -> None:
    copy = copied(place, tmp_path)
    for sentence in (copy.worker(), found_wrong(copy)):
        assert_refused(sentence, "may be a copy")
    assert place.worker() == ""
    assert copy.run("claim", "--yes").returncode == 0
    assert copy.worker() == ""


def test_a_machine_of_the_same_name_is_another_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, database = sqlite(tmp_path)
    machine_id = tmp_path / "machine-id"
    monkeypatch.setattr(whereabouts, "MACHINE_ID", machine_id)
    with closing(MemoryCloud("test")) as cloud, closing(database):
        home.settle(settings, database, cloud)  # a machine that has no id says nothing
        machine_id.write_text("aaaa\n")
        home.settle(settings, database, cloud)
        machine_id.unlink()
        home.settle(settings, database, cloud)
        machine_id.write_text("bbbb\n")
        with pytest.raises(ConfigurationError, match=r"aaaa.*bbbb"):
            home.settle(settings, database, cloud)


def test_two_back_ends_of_one_machine_use_one_database(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, database = sqlite(tmp_path)
    second, same = sqlite(tmp_path, host="storage2")
    machine_id = tmp_path / "machine-id"
    monkeypatch.setattr(whereabouts, "MACHINE_ID", machine_id)
    machine_id.write_text("aaaa\n")
    with closing(MemoryCloud("test")) as cloud, closing(database), closing(same):
        home.settle(settings, database, cloud)
        home.settle(second, database, cloud)
        with database.begin() as connection:
            connection.execute(delete(deployment))
        machine_id.write_text("uninitialized\n")  # nothing but the name tells machines apart
        home.settle(settings, database, cloud)
        with pytest.raises(ConfigurationError, match=r"storage1.*storage2"):
            home.settle(second, database, cloud)


def sqlite(directory: Path, **options: str) -> tuple[Settings, Database]:
    url = f"sqlite:///{directory}/atoll.sqlite"
    database = Database(url)
    upgrade(database)
    chosen = {"cloud": "memory", "host": "storage1", **options}
    return Settings(state_dir=directory, database=DatabaseSettings(url=url), **chosen), database  # type: ignore[arg-type]


def test_a_deployment_of_an_older_version_takes_the_cloud_that_it_meets(tmp_path: Path) -> None:
    settings, database = sqlite(tmp_path)
    with closing(MemoryCloud("test")) as cloud, closing(database):
        home.settle(settings, database, cloud)
        with database.begin() as connection:
            connection.execute(delete(deployment))
        home.settle(settings, database, cloud)
        with database.read() as connection:
            assert whereabouts.known(connection, "cloud") == {"kind": "memory"} | cloud.place()


@pytest.mark.parametrize(
    ("cloud", "host", "words"),
    [
        ("local", "storage2", "are on the machine storage1, and this is storage2"),
        ("memory", "storage1", "on the machine storage1.*in the simulated cloud"),
    ],
)
def test_an_older_version_remembered_the_machine_alone(
    tmp_path: Path, cloud: str, host: str, words: str
) -> None:
    settings, database = sqlite(tmp_path, cloud=cloud, host=host)
    with closing(database):
        with database.begin() as connection:
            connection.execute(insert(deployment).values(key="local_host", value="storage1"))
        with pytest.raises(ConfigurationError, match=words):
            home.refuse_elsewhere(settings, database)
        same, _ = sqlite(tmp_path, cloud="local")
        home.refuse_elsewhere(same, database)
