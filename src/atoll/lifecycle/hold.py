"""What a worker spares until a restore of the database is released (decision 27)."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from atoll.cloud.base import Cloud
from atoll.db import restores
from atoll.db.database import Database
from atoll.driver.generic import GenericShareDriver
from atoll.guest.agent.rules import canonical
from atoll.lifecycle.recovery import Cure, Diagnosis
from atoll.model.keys import SERVER_STATE, server_key, split
from atoll.model.records import AccessRule, Share, ShareServer
from atoll.model.states import RULES_SERVED, RULES_TO_DENY, InstanceStatus

HELD = (
    "The database was restored from a backup, and the restore is not released: 'atoll restore "
    "check' compares it with the cloud, and 'atoll restore release' ends this."
)
"""Why something is not done, for operators."""


def is_held(database: Database) -> bool:
    """Whether the database was restored, and no operator has released that yet."""
    with database.read() as connection:
        return restores.held(connection) is not None


def spared(cure: Cure, found: Diagnosis) -> Cure:
    """What is done about a share server, instead of ``cure``, while a restore is held.

    The database may name another instance than the one that serves, so none is reset or replaced
    unless an operator confirms. To start one that is switched off harms nothing.
    """
    if cure == Cure.RENEW:
        return Cure.SERVE_AGAIN if found.was_silent else Cure.NOTHING
    is_off = found.instance is not None and found.instance.status == InstanceStatus.STOPPED
    if found.is_confirmed or (cure == Cure.REBOOT and is_off):
        return cure
    return Cure.HOLD if cure in (Cure.REBOOT, Cure.REPLACE) else cure


def serves_volumes(cloud: Cloud, server: ShareServer) -> bool:
    """Whether an instance of the server has a share's volume.

    The backup may name an older instance.
    """
    own = server_key(server["id"])
    instances = {each.id for each in cloud.compute.list_instances() if each.owner == own}
    instances |= {server["identifier"] or ""}
    volumes = cloud.volumes.list_volumes()
    return any(
        volume.instance_id in instances
        for volume in volumes
        if volume.instance_id and split(volume.owner)[0] != SERVER_STATE
    )


def rules_to_serve(
    database: Database,
    driver: GenericShareDriver,
    share: Share,
    server: ShareServer | None,
    rules: Sequence[AccessRule],
) -> list[AccessRule]:
    """The rules to apply: those that were requested, and are not in error.

    While a restore is held, the backup's rules may have been denied since. Then the clients that
    the instance admits now stay, and only what was requested since is added or taken away. An
    instance that never served the share gets the backup's rules.
    """
    wanted = [rule for rule in rules if rule["state"] in RULES_SERVED]
    if not is_held(database):
        return wanted
    admitted = driver.admitted(share, server)
    if admitted is None:
        return wanted
    requested = [rule for rule in wanted if not rule["held"]]
    changed = requested + [rule for rule in rules if rule["state"] in RULES_TO_DENY]
    named = {_client(rule["access_type"], rule["access_to"]) for rule in changed}
    present: list[AccessRule] = [
        {
            "id": f"admitted/{export.to}",
            "access_type": export.type,
            "access_to": export.to,
            "access_level": export.level,
        }
        for export in admitted
        if _client(export.type, export.to) not in named
    ]
    return present + requested


def _client(access_type: str, access_to: str) -> tuple[str, str]:
    """Who a rule admits, in one spelling."""
    with contextlib.suppress(ValueError):
        access_to = canonical(access_to) if access_type == "ip" else access_to
    return access_type, access_to
