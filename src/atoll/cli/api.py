"""The API process: gunicorn around ``atoll.api.app``."""

from __future__ import annotations

import gc
import os
from typing import Any

from gunicorn import sock
from gunicorn.app.base import BaseApplication

from atoll.config import Settings

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "root": {},
    "handlers": {},
    "loggers": {
        "gunicorn.error": {"level": "INFO", "handlers": [], "propagate": True},
        # Requests are logged by our own edge, with their ids.
        "gunicorn.access": {"level": "ERROR", "handlers": [], "propagate": False},
    },
}


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        super().__init__()

    def load_config(self) -> None:
        api = self._settings.api
        options: dict[str, Any] = {
            "bind": f"{api.host}:{api.port}",
            "worker_class": "gthread",
            "workers": api.processes,
            "threads": api.threads,
            "proc_name": "atoll-api",
            "keepalive": 30,
            "timeout": 60,
            "graceful_timeout": 10,
            "limit_request_line": 8190,
            "worker_tmp_dir": "/dev/shm",  # noqa: S108 - only a heartbeat file, kept off the disk
            "logconfig_dict": LOGGING,
            "control_socket_disable": True,
        }
        for name, value in options.items():
            if name in self.cfg.settings:
                self.cfg.set(name, value)

    def load(self) -> Any:
        # Imported here: gunicorn's parent, where there is one, only watches and stays small.
        from atoll.api.app import create_app
        from atoll.db.database import Database
        from atoll.db.migrations import upgrade

        database = Database(self._settings.database_url)
        upgrade(database)
        app = create_app(self._settings, database)
        gc.collect()
        gc.freeze()  # no later collection looks at what lives as long as the process
        return app

    def run_alone(self) -> None:
        """Be gunicorn's worker without its parent, which takes 25 MiB to watch one process."""
        cfg = self.cfg
        log = cfg.logger_class(cfg)
        sockets = sock.create_sockets(cfg, log)
        worker = cfg.worker_class(1, os.getppid(), sockets, self, cfg.timeout / 2, cfg, log)
        worker.pid = os.getpid()
        worker.init_process()


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT. Whoever started it starts it again, should it end."""
    server = _Server(settings)
    if settings.api.processes == 1:
        server.run_alone()
    else:
        server.run()
