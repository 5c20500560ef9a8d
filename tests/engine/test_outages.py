"""When the database is away or stuck, workers wait: nothing is lost, nobody is taken for dead."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from sqlalchemy.exc import OperationalError

from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.engine import worker
from atoll.engine.operation import Operation
from harness import postgres
from tests.engine.conftest import Recorder, Workers, eventually, waiting
from tests.frozen import freezable_proxy
from tests.programs import need_postgres


@pytest.fixture
def own_cluster() -> Iterator[postgres.Cluster]:
    cluster = postgres.Cluster(need_postgres())
    yield cluster
    cluster.remove()


@pytest.fixture
def workers(own_cluster: postgres.Cluster) -> Iterator[Workers]:
    database = Database(own_cluster.new_database())
    upgrade(database)
    with Workers(database) as workers:
        yield workers
    database.close()


@pytest.mark.postgres
def test_work_goes_on_through_a_crash_of_the_database(
    own_cluster: postgres.Cluster, workers: Workers, monkeypatch: pytest.MonkeyPatch
) -> None:
    # claims come back before heartbeats: the worst order
    monkeypatch.setattr(worker, "_DATABASE_AWAY", 0.005)
    database = workers.database
    recorder = Recorder()
    go = threading.Event()
    names = [f"share/{number}" for number in range(6)]

    def act(operation: Operation) -> None:
        go.wait(30)
        with database.begin():  # not fenced, so as to see every run
            pass

    for name in names:
        recorder.does[name] = act
    workers.ask(*names)
    for _ in range(2):
        workers.work({"share": recorder}, threads=5, lease=1.0)  # both have room to take over
    eventually(lambda: len(recorder.converged) == 6)
    own_cluster.stop()
    time.sleep(3.0)  # three leases
    own_cluster.start()
    time.sleep(2.0)
    go.set()
    for name in names:
        workers.ends(name)
    assert [len(runs) for runs in recorder.converged.values()] == [1] * 6
    workers.ask("share/later")
    workers.ends("share/later")


@pytest.mark.postgres
def test_what_ends_while_the_database_is_away_is_written_later(
    own_cluster: postgres.Cluster, workers: Workers
) -> None:
    recorder = Recorder()
    go = threading.Event()
    ended = threading.Event()

    def act(operation: Operation) -> None:
        go.wait(30)
        ended.set()

    recorder.does["share/1"] = act
    workers.ask("share/1")
    workers.work({"share": recorder})
    eventually(lambda: len(recorder.converged["share/1"]) == 1)
    own_cluster.stop()
    go.set()
    assert ended.wait(5)
    time.sleep(2.0)
    own_cluster.start()
    workers.ends("share/1")
    assert len(recorder.converged["share/1"]) == 1


@pytest.mark.slow
def test_nobody_is_taken_for_dead_while_sqlite_was_locked(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('db')}/atoll.db"
    databases = [Database(url) for _ in range(3)]  # as three processes would have
    upgrade(databases[0])
    recorder = Recorder()
    go = threading.Event()
    with Workers(databases[0]) as first, Workers(databases[1]) as second:
        for number in range(4):
            recorder.does[f"share/{number}"] = waiting(go)
            first.ask(f"share/{number}")
        first.work({"share": recorder}, threads=5)
        second.work({"share": recorder}, threads=5)
        eventually(lambda: len(recorder.converged) == 4)
        with databases[2].begin():
            time.sleep(3.0)
        time.sleep(1.5)
        go.set()
        for number in range(4):
            first.ends(f"share/{number}")
    assert [len(runs) for runs in recorder.converged.values()] == [1] * 4
    for one in databases:
        one.close()


@pytest.mark.postgres
def test_a_worker_notices_that_the_database_is_silent_and_goes_on_later(
    own_cluster: postgres.Cluster,
) -> None:
    with freezable_proxy(own_cluster.new_database()) as way:
        database = Database(way.url, timeout=1)
        upgrade(database)
        direct = Database(way.direct)
        recorder = Recorder()
        with Workers(database) as workers, Workers(direct) as other:
            other.ask("share/first")
            workers.work({"share": recorder})
            other.ends("share/first")
            way.freeze()
            other.ask("share/meanwhile")
            begun = time.monotonic()
            with pytest.raises(OperationalError), database.read() as connection:
                database.now(connection)
            assert time.monotonic() - begun < 8
            way.thaw()
            other.ends("share/meanwhile", within=30)
        assert [len(runs) for runs in recorder.converged.values()] == [1, 1]
        direct.close()
        database.close()
