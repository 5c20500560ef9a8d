"""Compares the database with the cloud and its instances, for ``atoll restore check``.

Nothing is changed. Rows are read after the cloud was listed, as for orphans.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

from atoll.db import audit, restores, share_servers, shares, snapshots, subnets, tokens
from atoll.driver.generic import GenericShareDriver
from atoll.errors import AtollError
from atoll.guest.base import ExportRule, Health
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.listing import Listing
from atoll.lifecycle.orphans import Orphans
from atoll.model.keys import server_key, share_key, snapshot_key, split, subnet_key
from atoll.model.records import Share, ShareServer, Snapshot, Token
from atoll.model.states import SHARES_SERVED, ServerStatus, ShareStatus, SnapshotStatus

ASKED_AT_ONCE = 16


@dataclass(frozen=True, slots=True)
class Newer:
    """A thing in the cloud that the database does not know."""

    kind: str
    id: str
    owner: str
    size_gib: int | None
    created_at: str
    """As the cloud says it; empty if it does not."""
    used_by: str
    """The instance that has it; empty if none has."""


@dataclass(frozen=True, slots=True)
class Difference:
    """A row that does not match the cloud."""

    resource: str
    """``<kind>/<id>``"""
    name: str
    detail: str


@dataclass(frozen=True, slots=True)
class AccessDifference:
    """A share whose instance admits other clients than the database's rules do."""

    share_id: str
    name: str
    project_id: str
    only_in_database: tuple[str, ...]
    """Clients that would be admitted when the database's rules are applied."""
    only_on_instance: tuple[str, ...]
    """Clients that would then be shut out."""
    detail: str


@dataclass(slots=True)
class Comparison:
    """All differences. Each list is empty if there are none of its kind."""

    restore: restores.Restore | None = None
    newer: list[Newer] = field(default_factory=list)
    different: list[Difference] = field(default_factory=list)
    missing: list[Difference] = field(default_factory=list)
    access: list[AccessDifference] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    """What could not be compared, and why: sentences."""

    @property
    def is_clean(self) -> bool:
        """Whether nothing differs, and everything could be compared."""
        parts = (self.newer, self.different, self.missing, self.access, self.tokens, self.unseen)
        return not any(parts)


def compare_all(backend: Backend) -> Comparison:
    """Compare everything. Raises ``CloudError`` if the cloud does not answer."""
    found = Comparison()
    orphans = Orphans(backend.cloud, backend.database).find()
    cloud = Listing.of(backend.cloud)
    found.unseen += [f"{kind}s could not be listed: {why}" for kind, why in orphans.unseen.items()]
    found.newer = [
        Newer(each.kind, each.id, each.owner, *cloud.about(each.id))
        for each in orphans.orphans
        if not each.may_go
    ]
    with backend.database.read() as connection:
        found.restore = restores.held(connection)
        found.tokens = tokens.held(connection)
        servers = share_servers.where(connection)
        known_shares = shares.where(connection)
        known_snapshots = snapshots.where(connection)
        known_subnets = subnets.where(connection)
        served = audit.served_shares(connection)
    instances = {server["id"]: server["identifier"] or "" for server in servers}
    for share in known_shares:
        instance = instances.get(share["share_server_id"] or "", "")
        _sort(found, share_key(share["id"]), share["name"], _of_share(share, instance, cloud))
    for snapshot in known_snapshots:
        _sort(found, snapshot_key(snapshot["id"]), snapshot["name"], _of_snapshot(snapshot, cloud))
    for server in servers:
        has_shares = any(share["share_server_id"] == server["id"] for share in known_shares)
        _sort(found, server_key(server["id"]), None, _of_server(server, cloud, has_shares))
    for subnet in known_subnets:
        key = subnet_key(subnet["id"])
        if subnet["managed"] and subnet["cidr"] and key not in cloud.networks:
            _sort(found, key, None, [(True, "its network is gone")])
    _ask_instances(backend, found, servers, served)
    return found


Said = tuple[bool, str]
"""Whether something is missing in the cloud (or else different), and the detail."""


def _sort(found: Comparison, key: str, name: str | None, said: list[Said]) -> None:
    for is_missing, detail in said:
        target = found.missing if is_missing else found.different
        target.append(Difference(key, name or "", detail))


def _of_share(share: Share, instance: str, cloud: Listing) -> list[Said]:
    volume = cloud.volumes.get(share_key(share["id"]))
    status = share["status"]
    if volume is None:
        return (
            [(True, f"it is {status}, and its volume is gone")] if status in SHARES_SERVED else []
        )
    said: list[Said] = []
    if status not in SHARES_SERVED:
        said.append((False, f"it is {status}, and its volume {volume.id} is there"))
    if volume.size_gib != share["size"]:
        sizes = f"{share['size']} GiB in the database, {volume.size_gib} GiB in the cloud"
        said.append((False, sizes))
    if instance and volume.instance_id not in (None, instance):
        has = f"instance {volume.instance_id} has its volume, and the database names {instance}"
        said.append((False, has))
    if volume.instance_id is None and status == ShareStatus.AVAILABLE:
        said.append((False, "no instance has its volume"))
    return said


def _of_snapshot(snapshot: Snapshot, cloud: Listing) -> list[Said]:
    copy = cloud.snapshot(snapshot_key(snapshot["id"]), snapshot["provider_location"] or "")
    status = snapshot["status"]
    if copy is None:
        is_lost = status == SnapshotStatus.AVAILABLE
        return [(True, f"it is {status}, and its copy is gone")] if is_lost else []
    if status != SnapshotStatus.AVAILABLE:
        return [(False, f"it is {status}, and its copy {copy.id} is there")]
    if copy.size_gib != snapshot["size"]:
        sizes = f"{snapshot['size']} GiB in the database, {copy.size_gib} GiB in the cloud"
        return [(False, sizes)]
    return []


def _of_server(server: ShareServer, cloud: Listing, has_shares: bool) -> list[Said]:
    if server["stands_in_for"]:
        return []  # its instance is the other server's
    own = cloud.instances.get(server_key(server["id"]), [])
    status, known = server["status"], server["identifier"] or ""
    if any(known in ids for ids in cloud.instances.values()):
        own = [known]  # it may be the instance of a server that stands in
    if not own:
        is_lost = status == ServerStatus.ACTIVE
        return [(True, f"its instance {known} is gone")] if is_lost else []
    said: list[Said] = []
    if known not in own:
        there = ", ".join(own)
        said.append((False, f"the cloud has instance {there}, and the database {known or 'none'}"))
    if status != ServerStatus.ACTIVE:
        said.append((False, f"it is {status}, and its instance {', '.join(own)} is there"))
    of_shares = [each for each in cloud.volumes.values() if split(each.owner)[0] == "share"]
    served = sum(volume.instance_id in own for volume in of_shares)
    if served and not has_shares:
        said.append((False, f"it has no shares in the database, and serves {served}"))
    return said


# --- what instances admit -------------------------------------------------------------------------


def _ask_instances(
    backend: Backend,
    found: Comparison,
    servers: list[ShareServer],
    served: dict[str, list[Share]],
) -> None:
    driver = backend.driver(None)
    asked: list[tuple[ShareServer | None, list[Share]]] = [
        (server, served[server["id"]])
        for server in servers
        if server["status"] == ServerStatus.ACTIVE and served.get(server["id"])
    ]
    if not driver.driver_handles_share_servers and served.get(""):
        asked.append((None, served[""]))

    def ask(one: tuple[ShareServer | None, list[Share]]) -> list[AccessDifference] | str:
        server, here = one
        name = f"share server {server['id']}" if server else "the common server"
        try:
            return list(_access(driver, server, here))
        except AtollError as error:
            return f"The instance of {name} could not be asked which clients it admits: {error}"

    with ThreadPoolExecutor(ASKED_AT_ONCE, thread_name_prefix="compare") as pool:
        for answer in pool.map(ask, asked):
            if isinstance(answer, str):
                found.unseen.append(answer)
            else:
                found.access += answer


def _access(
    driver: GenericShareDriver, server: ShareServer | None, here: list[Share]
) -> Iterator[AccessDifference]:
    manager = driver.service_instance_manager
    details = server["backend_details"] if server else manager.get_common_server()
    health: Health = manager.health(details)
    for share in here:
        if not driver.differences(share, health):
            continue
        admitted = driver.admitted(share, server)
        if admitted is None:
            continue  # it is not served, and so admits nobody
        wanted = driver.exports(share, share["access_rules"])
        more, less = _texts(wanted, admitted), _texts(admitted, wanted)
        if not more and not less and _is_mounted(share, health):
            detail = "its exports differ in another way, such as squash"
        else:
            detail = ""
        if more or less or detail:
            name, project = share["name"] or "", share["project_id"]
            yield AccessDifference(share["id"], name, project, more, less, detail)


def _texts(some: tuple[ExportRule, ...], others: tuple[ExportRule, ...]) -> tuple[str, ...]:
    return tuple(f"{rule.to} ({rule.level})" for rule in some if rule not in others)


def _is_mounted(share: Share, health: Health) -> bool:
    return any(one.share_id == share["id"] and one.mounted for one in health.shares)
