"""The API process: gunicorn around ``atoll.api.app``."""

from __future__ import annotations

from typing import Any

from gunicorn.app.base import BaseApplication

from atoll import log
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
        # Imported here, in gunicorn's children: its parent only watches them and stays small.
        from atoll.api.app import create_app
        from atoll.db.database import Database
        from atoll.db.migrations import upgrade

        database = Database(self._settings.database_url)
        upgrade(database)
        return create_app(self._settings, database)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT."""
    log.configure(settings.log.level, settings.log.format)
    _Server(settings).run()
