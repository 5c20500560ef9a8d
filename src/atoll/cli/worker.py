"""The worker process, which claims and runs operations until a signal."""

from __future__ import annotations

import os
import signal
import threading
import time
from types import FrameType

import structlog

from atoll.cli.clouds import open_own_cloud
from atoll.cloud.base import Cloud
from atoll.config import Settings
from atoll.db import restores
from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.engine.worker import Worker
from atoll.engine.worker_locks import WorkerLocks
from atoll.errors import CloudError
from atoll.lifecycle import hold, witness
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.guard import Guard
from atoll.lifecycle.handlers import handlers
from atoll.lifecycle.heartbeat import Heartbeat
from atoll.lifecycle.orphans import Orphans
from atoll.lifecycle.seal import open_seal
from atoll.lifecycle.watch import Watch

log = structlog.get_logger(__name__)


CLOUD_PAUSE = 5.0
"""Seconds between attempts to open a cloud that does not answer."""


def run(settings: Settings) -> None:
    """Work until SIGTERM or SIGINT. Other workers take over unfinished operations."""
    settings.make_state_dir()
    database = Database.of(settings)
    upgrade(database)
    cloud = _own_cloud(settings, database)
    seal = open_seal(settings.secret_key, database)
    backend = Backend(settings, database, cloud, seal)
    worker = Worker(
        database,
        handlers(backend),
        name=f"{settings.host}:{os.getpid()}",
        locks=WorkerLocks(settings.state_dir / "workers"),
        threads=settings.worker.threads,
        lease=settings.worker.lease,
    )

    def stop(number: int, _: FrameType | None) -> None:
        log.info("worker.stopping", signal=signal.Signals(number).name)
        worker.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    if settings.worker.metrics_port:
        from prometheus_client import REGISTRY, start_http_server

        from atoll.engine.metrics import QueueCollector

        REGISTRY.register(QueueCollector(database))
        start_http_server(settings.worker.metrics_port, "127.0.0.1")
    _notice_restore(backend)
    heartbeat = Heartbeat(backend)
    heartbeat.start()
    guard = Guard(cloud)
    guard.start()
    watch = Watch(backend)
    watch.start()
    threading.Thread(target=backend.set_up, name="set-up", daemon=True).start()
    log.info("worker.started", cloud=settings.cloud, threads=settings.worker.threads)
    try:
        worker.run()
    finally:
        heartbeat.stop()
        guard.stop()
        watch.stop()
        backend.close()


def _notice_restore(backend: Backend) -> None:
    """Notice that the database was restored, before any work is done with it."""
    if not backend.witness.look():
        _compare_orphans(backend)
    if hold.is_held(backend.database):
        log.warning("worker.restore_held", todo=hold.HELD)


def _compare_orphans(backend: Backend) -> None:
    """Look for owners that the database has never known, once the cloud answers."""
    database = backend.database
    with database.read() as connection:
        if restores.known_orphans(connection) is None:
            return  # no worker has compared them yet, so any would seem new
    while True:
        try:
            found = Orphans(backend.cloud, database).find()
        except CloudError as error:
            log.warning("worker.start_delayed", error=str(error))
            time.sleep(CLOUD_PAUSE)
            continue
        with database.begin() as connection:
            witness.note_unknown(connection, found)
        return


def _own_cloud(settings: Settings, database: Database) -> Cloud:
    """Open the database's own cloud, once the cloud answers, so that it can be identified."""
    while True:
        try:
            return open_own_cloud(settings, database)
        except CloudError as error:
            log.warning("worker.start_delayed", error=str(error))
            time.sleep(CLOUD_PAUSE)
