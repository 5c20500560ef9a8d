"""The work of ``atoll restore check`` and ``release``, and the words for what they find."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection

from atoll.cli.clouds import open_own_cloud
from atoll.config import Settings
from atoll.db import audit, restores, share_servers, shares, snapshots, tokens
from atoll.db.database import Database
from atoll.engine.queue import enqueue
from atoll.lifecycle import hold
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.comparison import AccessDifference, Comparison, Difference, Newer, compare_all
from atoll.lifecycle.orphans import Orphans
from atoll.lifecycle.seal import Seal
from atoll.model.keys import server_key, share_key, snapshot_key
from atoll.model.states import ServerStatus


@dataclass(frozen=True, slots=True)
class Plan:
    """What the release of a restore changes."""

    found: Comparison
    orphans: tuple[str, ...]
    """Owners that the cloud knows and the database does not."""
    idle: tuple[str, ...]
    """Share servers that are removed, because they serve nothing."""
    taken: tuple[str, ...]
    """Warm share servers that serve shares by now, and so must not be given to another network."""
    continued: tuple[str, ...]
    """Resources whose work the backup asks for, with their states, such as ``deleting``."""


def compare(settings: Settings, database: Database) -> Comparison:
    """Compare the database with its cloud. Raises ``CloudError``."""
    with closing(_backend(settings, database)) as backend:
        return compare_all(backend)


def plan(settings: Settings, database: Database) -> Plan | None:
    """What the release changes; None if no restore is held. Raises ``CloudError``."""
    if not hold.is_held(database):
        return None
    before = time.time() - settings.driver.unused_share_server_cleanup_interval
    with closing(_backend(settings, database)) as backend:
        found = compare_all(backend)
        orphans = {each.owner for each in Orphans(backend.cloud, database).find().orphans}
        with database.read() as connection:
            idle = set(audit.idle_servers(connection, before))
            servers = share_servers.where(connection)
            statuses = _statuses(connection)
            continued = audit.without_operation(connection)
        serving = {each["id"] for each in servers if hold.serves_volumes(backend.cloud, each)}
    warm = {each["id"] for each in servers if each["share_network_subnet_id"] is None}
    work = sorted(f"{key} ({statuses.get(key, 'to be changed')})" for key in set(continued))
    return Plan(
        found,
        tuple(sorted(orphans)),
        tuple(sorted(idle - serving)),
        tuple(sorted(warm & serving)),
        tuple(work),
    )


def release(database: Database, plan: Plan, *, keep_tokens: bool) -> None:
    """End the hold, and request a pass, which repairs and continues."""
    with database.begin() as connection:
        for server_id in plan.taken:
            share_servers.change(connection, server_id, status=ServerStatus.INACTIVE)
        restores.release(connection, keep_tokens=keep_tokens, orphans=plan.orphans)
        enqueue(connection, "reconcile/all")


def _backend(settings: Settings, database: Database) -> Backend:
    cloud = open_own_cloud(settings, database)
    try:
        return Backend(settings, database, cloud, Seal.from_file(settings.secret_key))
    except BaseException:
        cloud.close()
        raise


def _statuses(connection: Connection) -> dict[str, str]:
    """The status by ``<kind>/<id>``."""
    return {
        **{share_key(row["id"]): row["status"] for row in shares.where(connection)},
        **{snapshot_key(row["id"]): row["status"] for row in snapshots.where(connection)},
        **{server_key(row["id"]): row["status"] for row in share_servers.where(connection)},
    }


# --- as JSON and as text --------------------------------------------------------------------------


def as_json(found: Comparison) -> dict[str, Any]:
    """The comparison for machines, without the whole hashes of tokens."""
    return {
        "restore": None if found.restore is None else msgspec.to_builtins(found.restore),
        "newer": [asdict(each) for each in found.newer],
        "different": [asdict(each) for each in found.different],
        "missing": [asdict(each) for each in found.missing],
        "access": [asdict(each) for each in found.access],
        "tokens": [
            {
                "hash": token["hash"][: tokens.HASH_DIGITS],
                "name": token["name"],
                "project": token["project"],
                "roles": token["roles"],
                "created_at": token["created_at"],
            }
            for token in found.tokens
        ],
        "unseen": found.unseen,
    }


def described(found: Comparison) -> Iterator[str]:
    """The comparison for people: a section for each kind of difference, with the next step."""
    if found.restore is None:
        yield "No restore waits for its release."
    else:
        yield f"A restore is held since {found.restore.began_at[:19]} UTC. {found.restore.why}"
    yield from _section(
        "Newer: in the cloud, and not in the database",
        map(_newer, found.newer),
        "They are kept. Copy the data of a volume into a new share, or leave it; what you don't "
        "need is removed by 'atoll orphan remove OWNER --yes', once the restore is released.",
    )
    yield from _section(
        "Different: in both, but not the same",
        map(_difference, found.different),
        "After the release, workers make these match the database; sizes follow the cloud. "
        "What the database is about to delete or make is done then.",
    )
    yield from _section(
        "Missing: in the database, and not in the cloud",
        map(_difference, found.missing),
        "Most were deleted after the backup: delete their rows by the API. A missing instance is "
        "made again after the release.",
    )
    yield from _section(
        "Access: clients that an instance admits, and the database's rules",
        map(_access, found.access),
        "The database's rules are applied after the release. Before that, delete the rules of "
        "clients that shall not come back, and create those that shall stay, by the API.",
    )
    yield from _section(
        "Tokens of the backup, which may have been revoked since",
        map(tokens.described, found.tokens),
        "They are refused. Revoke single ones by 'atoll token revoke HASH'; 'atoll restore "
        "release' takes --keep-tokens or --revoke-tokens for the others.",
    )
    yield from _section(
        "Not compared", found.unseen, "Run the command again when the cloud and instances answer."
    )
    if found.is_clean:
        yield "Nothing differs."
    elif found.restore is not None:
        yield ""
        yield "When all this is as you want it: 'atoll restore release'."


def plan_described(plan: Plan, *, keep_tokens: bool) -> Iterator[str]:
    """What the release changes, in sentences."""
    found = plan.found
    yield "The release of the restore has these consequences:"
    if found.newer:
        yield f"- Things that the database does not know are kept: {len(found.newer)}."
    for server_id in plan.idle:
        yield f"- The share server {server_id} is removed: it is idle, and serves no volume."
    for server_id in plan.taken:
        yield f"- The warm share server {server_id} becomes inactive: it serves others by now."
    for share in found.access:
        yield f"- The database's rules are applied to share {_access(share)}."
    for work in plan.continued:
        yield f"- What the backup asks for is done: {work}."
    for each in [*found.different, *found.missing]:
        if each.resource.startswith("share_server/"):
            yield f"- {_difference(each)}: its instance may be replaced."
    for token in found.tokens:
        yield f"- Token {tokens.described(token)} {'works again' if keep_tokens else 'is deleted'}."
    for sentence in found.unseen:
        yield f"- Unknown: {sentence}"
    yield "- Idle servers and silent instances are treated as usual again."


def _section(title: str, lines: Iterable[str], todo: str) -> Iterator[str]:
    shown = list(lines)
    if not shown:
        return
    yield ""
    yield f"{title} ({len(shown)})"
    yield from (f"  {line}" for line in shown)
    yield f"  → {todo}"


def _newer(each: Newer) -> str:
    facts = [
        f"{each.size_gib} GiB" if each.size_gib is not None else "",
        f"made {each.created_at}" if each.created_at else "",
        f"used by instance {each.used_by}" if each.used_by else "",
    ]
    more = ", ".join(filter(None, facts))
    return f"{each.kind} {each.id} of {each.owner or 'nobody'}{': ' + more if more else ''}"


def _difference(each: Difference) -> str:
    name = f" ({each.name})" if each.name else ""
    return f"{each.resource}{name}: {each.detail}"


def _access(each: AccessDifference) -> str:
    name = f" ({each.name})" if each.name else ""
    facts = [
        f"admitted again {', '.join(each.only_in_database)}" if each.only_in_database else "",
        f"shut out {', '.join(each.only_on_instance)}" if each.only_on_instance else "",
        each.detail,
    ]
    return f"{each.share_id}{name} of project {each.project_id}: {'; '.join(filter(None, facts))}"
