"""``atoll doctor``: finds problems before users do."""

from __future__ import annotations

import os
import socket
import stat
import sys
import tempfile
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from atoll.api.auth.service_user import password_file
from atoll.cli import bootstrap, home
from atoll.cli.clouds import open_cloud
from atoll.cloud.base import Cloud, Finding
from atoll.config import Settings, load
from atoll.db import services
from atoll.db.database import Database
from atoll.driver.common_server import CommonServer
from atoll.driver.network import cuts
from atoll.errors import AtollError, CloudError, ConfigurationError
from atoll.lifecycle import doctor as of_resources

_MOST = ("max_connections", "superuser_reserved_connections")


def examine(settings: Settings) -> list[Finding]:
    """Run all checks, in the order in which their findings should be corrected."""
    checks: tuple[Callable[[Settings], list[Finding]], ...] = (
        _python,
        _state_directory,
        _port,
        _keystone,
        _database_and_cloud,
    )
    return as_one_list(finding for check in checks for finding in check(settings))


def as_one_list(findings: Iterable[Finding]) -> list[Finding]:
    """Merge findings of the same check, and give all findings the same style.

    Names begin with a capital, details end without a full stop. Several findings of one check are
    merged; if some of them fail, only those that fail are kept.
    """
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.check.casefold(), []).append(finding)
    return [_as_one(same) for same in by_name.values()]


def _as_one(same: list[Finding]) -> Finding:
    said = [finding for finding in same if not finding.ok] or same
    name = same[0].check
    return Finding(
        name[:1].upper() + name[1:],
        said[0].ok,
        "; ".join(dict.fromkeys(finding.detail.rstrip(". ") for finding in said)),
        " ".join(dict.fromkeys(finding.todo for finding in said if finding.todo)),
    )


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
            f"Others may have at most the permission to pass: 'chmod 711 {path}'.",
        )
    ]
    secrets = [path / "admin.token", settings.secret_key]
    if settings.api.auth_strategy == "keystone":
        secrets.append(password_file(settings))
    for secret in secrets:
        findings += _private(secret)
    return findings


def _private(path: Path) -> list[Finding]:
    if not path.exists():
        return []
    mode = stat.S_IMODE(path.stat().st_mode)
    todo = f"Only its owner may read it: 'chmod 600 {path}'."
    return [Finding(f"File {path.name}", not mode & 0o077, f"mode {mode:04o}", todo)]


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


def _keystone(settings: Settings) -> list[Finding]:
    if settings.api.auth_strategy != "keystone":
        return []
    try:
        from atoll.cli.keystone import findings as of_keystone
    except ImportError as error:
        missing = f"{error.name} is not installed"
        return [Finding("Keystone", False, missing, "Install Atoll with the extra [openstack].")]
    return of_keystone(settings)


def _database_and_cloud(settings: Settings) -> list[Finding]:
    if not settings.database.url and not (settings.state_dir / "atoll.sqlite").exists():
        return [Finding("Database", True, "is made at the first start"), *_untouched(settings)]
    try:
        with closing(Database.of(settings)) as database:
            deployment = bootstrap.known_deployment(database)
            looked = []
            if deployment is not None:
                home.refuse_elsewhere(settings, database)
                looked = [
                    *_connections(settings, database),
                    *of_resources.clocks(settings, database),
                    *of_resources.secret_key(settings, database),
                    *of_resources.restored(settings, database),
                    *of_resources.silent_servers(database),
                    *of_resources.file_systems(database),
                ]
    except ConfigurationError as error:
        return [Finding("Database", False, error.message, error.hint)]
    except (SQLAlchemyError, AtollError) as error:
        cause = str(error).splitlines()[0]
        todo = "Check database.url, that the server runs, and run 'atoll upgrade'."
        return [Finding("Database", False, cause, todo)]
    if deployment is None:
        return [Finding("Database", True, "answers, and is empty"), *_untouched(settings)]
    return [Finding("Database", True, "answers"), *looked, *_cloud(settings, deployment)]


def _connections(settings: Settings, database: Database) -> list[Finding]:
    """Whether PostgreSQL allows all connections that this API and all workers may open."""
    if database.is_sqlite:
        return []
    with database.read() as connection:
        shown = (connection.execute(text(f"SHOW {name}")).scalar_one() for name in _MOST)
        most, reserved = (int(value) for value in shown)
        alive = services.every(connection, database.now(connection))
    workers = max(1, sum(row["state"] == "up" for row in alive))
    wanted = settings.api.processes * settings.database.connections
    wanted += workers * (settings.database.connections + 1)
    detail = f"{wanted} of the server's {most - reserved} may be opened by API and workers"
    todo = "Raise the server's max_connections, or lower database.connections."
    is_enough = wanted <= most - reserved
    return [Finding("Database connections", is_enough, detail, "" if is_enough else todo)]


def _untouched(settings: Settings) -> list[Finding]:
    """The cloud's findings before the first start, with a temporary state directory."""
    with tempfile.TemporaryDirectory(prefix="atoll-doctor-", dir="/var/tmp") as place:
        Path(place).chmod(0o711)
        elsewhere = load(
            state_dir=Path(place),
            cloud=settings.cloud,
            local=settings.local,
            openstack=settings.openstack,
            driver=settings.driver,
        )
        return _cloud(elsewhere, "doctor", purge=True)


def _cloud(settings: Settings, deployment: str, *, purge: bool = False) -> list[Finding]:
    try:
        cloud = open_cloud(settings, deployment)
    except AtollError as error:
        todo = (
            f"Check the table [{settings.cloud}] of the configuration, and that the cloud answers."
        )
        return [Finding(f"Cloud {settings.cloud}", False, error.message, error.hint or todo)]
    with closing(cloud):
        found = [*cloud.check(), *_driver(settings, cloud)]
        if purge:
            return found + _purged(cloud)
        return found + _leftovers(settings, cloud)


def _leftovers(settings: Settings, cloud: Cloud) -> list[Finding]:
    try:
        with closing(Database.of(settings)) as database:
            home.refuse_foreign(settings, database, cloud)
            return of_resources.leftovers(settings, database, cloud)
    except ConfigurationError as error:  # in another cloud, everything would look like an orphan
        return [Finding("Deployment's cloud", False, error.message, error.hint)]
    except CloudError as error:
        todo = "Run the doctor again when the cloud answers."
        return [Finding("Deployment's cloud", False, error.message, error.hint or todo)]
    except SQLAlchemyError as error:
        cause = str(error).splitlines()[0]
        return [Finding("Orphans", False, cause, "Run 'atoll upgrade'.")]


def _purged(cloud: Cloud) -> list[Finding]:
    """Remove what the checks have left in the cloud; a finding if that fails."""
    try:
        cloud.purge()
    except AtollError as error:
        todo = "Run the doctor again when the cloud answers."
        return [Finding("Leftovers of the checks", False, error.message, error.hint or todo)]
    return []


def _check_route(settings: Settings) -> None:
    """Raise ``ConfigurationError`` if instances could not reach the workers."""
    options = settings.driver
    if (
        settings.cloud == "openstack"
        and settings.openstack.service_network_interface == "none"
        and not options.connect_share_server_to_tenant_network
        and not options.admin_network_id
    ):
        raise ConfigurationError(
            "With connect_share_server_to_tenant_network = false each instance is in a subnet of "
            "its own, where it answers neither a bastion nor routed workers.",
            hint="Set service_network_interface, admin_network_id, or that option to true.",
        )


def _driver(settings: Settings, cloud: Cloud) -> list[Finding]:
    """Check options whose errors would otherwise appear only with the first share."""
    options = settings.driver
    handles = options.driver_handles_share_servers
    check = "Service network's range" if handles else "Common server"
    try:
        if handles:
            _check_route(settings)
            mask = options.service_network_division_mask
            detail = f"{cuts.pool(options.service_network_cidr, mask)}, in parts of /{mask}"
        else:
            found = CommonServer(cloud, options).details()
            detail = f"at {found['ip']}, for clients at {found['public_addresses']}"
    except AtollError as error:
        todo = "Run the doctor again when the cloud answers."
        return [Finding(check, False, error.message, error.hint or todo)]
    return [Finding(check, True, detail)]
