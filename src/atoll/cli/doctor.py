"""``atoll doctor``: what is wrong, before a user meets it."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import sys
from collections.abc import Callable
from pathlib import Path

from sqlalchemy.exc import SQLAlchemyError

from atoll.cli import bootstrap
from atoll.cli.clouds import open_cloud, service_image
from atoll.cloud.base import Finding
from atoll.config import Settings
from atoll.db.database import Database
from atoll.errors import AtollError

ROOM_GIB = 5.0


def examine(settings: Settings) -> list[Finding]:
    """Every check, in the order in which one would mend what they find."""
    checks: tuple[Callable[[Settings], list[Finding]], ...] = (
        _python,
        _state_directory,
        _port,
        _image,
        _database_and_cloud,
    )
    return [finding for check in checks for finding in check(settings)]


def _python(_: Settings) -> list[Finding]:
    version = ".".join(map(str, sys.version_info[:3]))
    return [
        Finding("Python", sys.version_info >= (3, 11), version, "Install Python 3.11 or newer.")
    ]


def _state_directory(settings: Settings) -> list[Finding]:
    path = settings.state_dir
    if not path.exists():
        return [Finding("State directory", True, f"{path} is made at the first start")]
    mode = stat.S_IMODE(path.stat().st_mode)
    findings = [
        Finding(
            "State directory",
            os.access(path, os.W_OK) and not mode & 0o066,
            f"{path}, mode {mode:04o}",
            f"Let others pass at most: chmod 711 {path}",
        )
    ]
    free = shutil.disk_usage(path).free / 2**30
    findings.append(
        Finding(
            "Disk space",
            free >= ROOM_GIB,
            f"{free:.1f} GiB free below {path}",
            "Free some space, or set state_dir to a larger file system.",
        )
    )
    for secret in ("admin.token", "secret.key"):
        findings += _private(path / secret)
    return findings


def _private(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    mode = stat.S_IMODE(path.stat().st_mode)
    return [Finding(path.name, not mode & 0o077, f"mode {mode:04o}", f"chmod 600 {path}")]


def _port(settings: Settings) -> list[Finding]:
    host, port = settings.api.host, settings.api.port
    where = f"{host}:{port}"
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            return [_taken(where, error)]
    return [Finding("API port", True, f"{where} is free")]


def _taken(where: str, error: OSError) -> Finding:
    import urllib.error
    import urllib.request

    try:
        urllib.request.urlopen(f"http://{where}/healthcheck", timeout=3).close()
    except urllib.error.HTTPError as answer:
        return Finding(
            "API port", False, f"Atoll on {where} is not healthy ({answer.code})", "See its log."
        )
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return Finding("API port", False, f"{where}: {error.strerror}", "Choose another api.port.")
    return Finding("API port", True, f"Atoll answers on {where}")


def _image(settings: Settings) -> list[Finding]:
    if settings.cloud != "local":
        return []
    path = service_image(settings)
    found = path is not None and path.exists()
    return [
        Finding(
            "Service image",
            found,
            str(path) if found else "there is none yet",
            "Run 'atoll image build' ('atoll serve' also does).",
        )
    ]


def _database_and_cloud(settings: Settings) -> list[Finding]:
    if not settings.database.url and not settings.state_dir.exists():
        return [
            Finding("Database", True, "is made at the first start"),
            *_cloud(settings, "doctor"),
        ]
    try:
        deployment = bootstrap.deployment_id(Database(settings.database_url))
    except (SQLAlchemyError, AtollError) as error:
        cause = str(error).splitlines()[0]
        todo = "Check database.url, that the server runs, and run 'atoll upgrade'."
        return [Finding("Database", False, cause, todo)]
    return [Finding("Database", True, "answers"), *_cloud(settings, deployment)]


def _cloud(settings: Settings, deployment: str) -> list[Finding]:
    try:
        cloud = open_cloud(settings, deployment)
    except AtollError as error:
        return [Finding(f"Cloud {settings.cloud}", False, error.message, error.hint)]
    try:
        return cloud.check()
    finally:
        cloud.close()
