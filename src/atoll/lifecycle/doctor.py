"""Checks of ``atoll doctor`` that compare clocks, and the cloud with the database."""

from __future__ import annotations

import time
from datetime import UTC, datetime

from atoll.cloud.base import Cloud, Finding
from atoll.config import Settings
from atoll.db import audit, dues, restores, services
from atoll.db.database import Database
from atoll.db.dues import Longest
from atoll.engine.periodic import PRUNING_INTERVAL
from atoll.engine.upkeep import LONGEST_DELAY
from atoll.errors import ConfigurationError
from atoll.lifecycle import seal, witness
from atoll.lifecycle.orphans import Orphan, Orphans
from atoll.model.records import ShareServer

CLOCKS_DIFFER = 5.0
"""Synchronised clocks never differ by this many seconds."""

NAMED = 20
"""The most items that one finding names."""

SOON_GONE = 10
"""Reconcile passes after which a leftover should be gone."""


def clocks(settings: Settings, database: Database) -> list[Finding]:
    """Compare this host's clock with the database's, and with the times in the database."""
    with database.read() as connection:
        before = time.time()
        now = database.now(connection)
        ahead = (before + time.time()) / 2 - now
        beats = services.every(connection, now)
        late = dues.too_late(connection, _longest(settings))
        newest = audit.newest(connection)
    wrong = [
        f"{beat['binary']} on {beat['host']} has a heartbeat {beat['heartbeat'] - now:.0f} s "
        "in the future"
        for beat in beats
        if beat["heartbeat"] > now + CLOCKS_DIFFER
    ]
    wrong += [f"{resource} is planned for too late a time" for resource in late]
    until = _text(time.time() + CLOCKS_DIFFER)
    wrong += [f"{what} was written at {moment}" for what, moment in newest if moment > until]
    if abs(ahead) > CLOCKS_DIFFER:
        way = "ahead of" if ahead > 0 else "behind"
        wrong.insert(0, f"this host is {abs(ahead):.0f} s {way} the database's server")
    if wrong:
        todo = "Synchronise the clocks of all hosts (NTP). Workers correct planned times themselves"
        return [Finding("Clocks", False, _some(wrong), f"{todo}, and ignore such heartbeats.")]
    return [Finding("Clocks", True, "agree, and nothing is from the future")]


def secret_key(settings: Settings, database: Database) -> list[Finding]:
    """Check that the key opens what the database has sealed."""
    with database.read() as connection:
        try:
            found = seal.check(settings.secret_key, connection)
        except ConfigurationError as error:
            return [Finding("Secret key", False, error.message, error.hint)]
        except PermissionError:
            return []  # the doctor runs as a user who may not read it
    return [Finding("Secret key", True, "opens the database's secrets")] if found else []


def restored(settings: Settings, database: Database) -> list[Finding]:
    """Name a restore of the database that no operator has released, or that nobody has noticed."""
    with database.read() as connection:
        present = restores.held(connection)
        try:
            has_lost = witness.has_lost(connection, settings.witness)
        except PermissionError:
            has_lost = False
    if present is not None:
        detail = f"noticed at {present.began_at[:19]}, and not released. {present.why}"
        todo = "Compare by 'atoll restore check', then end this by 'atoll restore release'."
        return [Finding("Restore", False, detail, todo)]
    if has_lost:
        detail = "the database is older than a worker of this host has seen it"
        todo = "Run 'atoll restore begin' before a worker starts."
        return [Finding("Restore", False, detail, todo)]
    return [Finding("Restore", True, "none that waits for its release")]


def silent_servers(database: Database) -> list[Finding]:
    """Name the share servers whose instances do not answer, and those that need an operator."""
    with database.read() as connection:
        active = audit.active_servers(connection)
    silent = [server for server in active if server["unhealthy_since"] is not None]
    if not active:
        return []
    if not silent:
        return [Finding("Share servers", True, f"all {len(active)} answer")]
    todo = (
        "A worker restarts or replaces them. It does not if many fell silent together: then check "
        "the network between workers and service instances, or run 'atoll server recover'."
    )
    ids = [server["id"] for server in silent]
    detail = f"{len(silent)} of {len(active)} don't answer: {_some(ids)}"
    return [Finding("Share servers", False, detail, todo), *_unfenced(silent)]


def _unfenced(silent: list[ShareServer]) -> list[Finding]:
    """Name the instances that have to be replaced, but may still run."""
    doubtful = [server for server in silent if server["unfenced_instance"]]
    if not doubtful:
        return []
    detail = [f"{each['unfenced_instance']} of share server {each['id']}" for each in doubtful]
    todo = (
        "Their hosts do not answer, so they may still run and write, and are not replaced. Bring "
        "the hosts back; or switch them off, and confirm: 'atoll server fence "
        f"{doubtful[0]['id']}'."
    )
    return [Finding("Instances that may still run", False, _some(detail), todo)]


def file_systems(database: Database) -> list[Finding]:
    """Name the shares whose file systems have met errors."""
    with database.read() as connection:
        found = audit.damaged_file_systems(connection)
    if not found:
        return []
    todo = (
        "Find the cause in the storage and in the console log of the service instance. Then see "
        "'A file system has errors' in docs/howto/recover.md."
    )
    lines = [f"{resource} ({state})" for resource, state in sorted(found.items())]
    return [Finding("File systems", False, f"with errors: {_some(lines)}", todo)]


def _longest(settings: Settings) -> Longest:
    periods = {
        "reconcile/all": float(settings.worker.reconcile_interval),
        "operations/all": PRUNING_INTERVAL,
    }
    return Longest(LONGEST_DELAY, settings.worker.lease, periods)


def leftovers(settings: Settings, database: Database, cloud: Cloud) -> list[Finding]:
    """Name resources in the cloud without a row that the next reconcile pass will not remove."""
    found = Orphans(cloud, database).find()
    kept = [orphan for orphan in found.orphans if not orphan.may_go]
    before = _text(time.time() - SOON_GONE * settings.worker.reconcile_interval)
    stuck = [orphan for orphan in found.orphans if orphan.may_go and orphan.removed_at < before]
    findings = []
    if kept:
        todo = (
            "The database does not know them (was it restored from a backup?), so they are kept. "
            "To remove those that you don't need: 'atoll orphan remove OWNER --yes', e.g. "
            f"{kept[0].owner}."
        )
        findings.append(Finding("Orphans", False, _names(kept), todo))
    if stuck:
        todo = "Each pass tries to remove them and fails; the worker's log says why."
        findings.append(Finding("Leftovers not removed", False, _names(stuck), todo))
    if found.unseen:
        todo = "Run the doctor again when the cloud answers."
        unseen = [f"{kind}: {error}" for kind, error in found.unseen.items()]
        findings.append(Finding("Listing of the cloud", False, _some(unseen), todo))
    return findings or [Finding("Orphans", True, "none")]


def _names(orphans: list[Orphan]) -> str:
    return _some([str(orphan) for orphan in orphans])


def _some(lines: list[str]) -> str:
    more = f"; and {len(lines) - NAMED} more" if len(lines) > NAMED else ""
    return "; ".join(lines[:NAMED]) + more


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).replace(tzinfo=None).isoformat()
