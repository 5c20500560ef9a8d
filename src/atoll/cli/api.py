"""The API process, which serves ``atoll.api.app`` by ``atoll.api.front``."""

from __future__ import annotations

import gc
import os
import signal
import socket
import time
from types import FrameType

import structlog

from atoll.config import Settings
from atoll.errors import ConfigurationError

log = structlog.get_logger(__name__)

PAUSE = 1.0
"""Seconds until a dead process is started again."""
NEW_OBJECTS = 10_000
"""About as many objects as a list of 1,000 shares has. Python looks for unused cycles after so many
new objects; by default after 700, which takes 7 % of the time that such a list needs."""


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. The supervisor restarts it if it ends otherwise."""
    from atoll.api.front.listener import listen

    api = settings.api
    try:
        sockets = listen(api.host, api.port)
    except OSError as error:
        raise ConfigurationError(
            f"The API can't listen on {api.host} port {api.port}: {error.strerror}.",
            hint="Check api.host and api.port, and whether another program listens there.",
        ) from error
    if api.processes == 1:
        serve(settings, sockets)
    else:
        _Parent(settings, sockets).run()


def serve(settings: Settings, sockets: list[socket.socket]) -> None:
    """Run one process that answers requests."""
    # Imported here, so that a parent process stays small.
    from atoll.api.app import create_app
    from atoll.api.front.listener import Front, Limits
    from atoll.db.database import Database
    from atoll.db.migrations import upgrade

    api = settings.api
    database = Database.of(settings)
    upgrade(database)
    database.keep_reserve()
    front = Front(
        create_app(settings, database),
        sockets,
        Limits(
            threads=api.threads,
            connections=api.connections,
            request_timeout=api.request_timeout,
            idle_timeout=api.idle_timeout,
            body_bytes=api.max_request_bytes,
        ),
    )

    def stop(*_: int | FrameType | None) -> None:
        front.stop()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    gc.collect()
    gc.freeze()  # later collections skip the objects that live as long as the process
    gc.set_threshold(NEW_OBJECTS)
    log.info("api.started", host=api.host, port=api.port)
    front.run()


class _Parent:
    """The parent of several processes that serve the same sockets."""

    def __init__(self, settings: Settings, sockets: list[socket.socket]) -> None:
        self._settings = settings
        self._sockets = sockets
        self._children: set[int] = set()
        self._stopping = False

    def run(self) -> None:
        """Keep the processes running until a signal; then wait until all have ended."""
        signal.signal(signal.SIGTERM, self._stop)
        signal.signal(signal.SIGINT, self._stop)
        while not self._stopping:
            while len(self._children) < self._settings.api.processes and not self._stopping:
                self._start()
            self._wait()
            if not self._stopping:
                time.sleep(PAUSE)
        self._stop()  # includes processes that were being started when the signal came
        while self._children:
            self._wait()

    def _start(self) -> None:
        child = os.fork()
        if child:
            self._children.add(child)
            return
        status = 1
        try:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.SIG_DFL)
            if not self._stopping:
                serve(self._settings, self._sockets)
            status = 0
        except Exception:
            log.exception("api.failed")
        finally:
            os._exit(status)

    def _wait(self) -> None:
        try:
            child, status = os.wait()
        except ChildProcessError:
            self._children.clear()
            return
        self._children.discard(child)
        if not self._stopping:
            log.error("api.process_died", pid=child, status=os.waitstatus_to_exitcode(status))

    def _stop(self, *_: int | FrameType | None) -> None:
        self._stopping = True
        for child in list(self._children):
            try:
                os.kill(child, signal.SIGTERM)
            except ProcessLookupError:
                continue
