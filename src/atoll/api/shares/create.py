"""Creating a share: from nothing or from a snapshot.

Everything is checked and written in one transaction: type, network, snapshot, zone, quota, the row
``creating`` and the operation that makes it true.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Final
from uuid import uuid4

from sqlalchemy import Connection

from atoll.api.frame import bodies
from atoll.api.frame.call import Call
from atoll.api.frame.metadata import Metadata, guard
from atoll.api.frame.metadata import check_size as check_metadata_size
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.texts import NewTexts
from atoll.api.shares import options as share_options
from atoll.api.shares import placement as share_placement
from atoll.api.shares import sources
from atoll.api.shares.shares import SHARES
from atoll.api.shares.sources import Source
from atoll.capabilities import is_true
from atoll.db import placement, quotas, share_networks, share_types, shares
from atoll.db.database import project_lock
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound
from atoll.model import features
from atoll.model.keys import share_key
from atoll.model.records import Share, ShareType
from atoll.model.states import NetworkStatus, RulesStatus, ShareStatus

routes = Routes()

_SINCE_SIZE_SPECS: Final = 61


class Create(NewTexts, kw_only=True):
    """A share as it is asked for."""

    share_proto: str
    size: bodies.Size
    share_type: bodies.Name | None = None
    volume_type: bodies.Name | None = None
    share_network_id: bodies.IdOrNone = None
    snapshot_id: bodies.IdOrNone = None
    is_public: bool | None = False
    metadata: Metadata | None = None
    availability_zone: Annotated[bodies.Name | None, bodies.since("2.1")] = None
    share_group_id: Annotated[str | None, bodies.since("2.31"), bodies.Refused] = None
    scheduler_hints: Annotated[share_placement.Hints | None, bodies.since("2.65")] = None


@routes.post("/shares", policy="share:create", envelope="share", answers=SHARES.one)
def create(call: Call, body: Create) -> Body:
    """Write the share down as ``creating`` and ask for it to be made."""
    protocol = _protocol(call, body.share_proto)
    if body.share_group_id:
        features.SHARE_GROUPS.check()
    if body.is_public:
        call.enforce(rule="share:create_public_share")
    texts, metadata = body.texts(), body.metadata or {}
    guard(call, {}, metadata)
    check_metadata_size({}, metadata)
    with call.database.begin() as connection:
        # Before anything is read: a share network is deleted under this lock too.
        project_lock(connection, call.project_id)
        hints = share_placement.hints(call, connection, body.scheduler_hints)
        source = sources.find(call, connection, body.snapshot_id, body.size, protocol)
        share_type = _share_type(call, connection, body, source)
        network_id = _network(call, connection, body, share_type, source)
        parent = source.parent if source else None
        zone, zones = share_placement.zone(
            call, connection, body.availability_zone, share_type, network_id, parent
        )
        _reserve(call, connection, body.size, share_type["id"])
        values: Share = {
            "name": texts["name"],
            "description": texts["description"],
            "id": str(uuid4()),
            "project_id": call.project_id,
            "user_id": call.user_id,
            "size": body.size,
            "share_proto": protocol,
            "status": (ShareStatus.CREATING_FROM_SNAPSHOT if source else ShareStatus.CREATING),
            "progress": "0%",
            "access_rules_status": RulesStatus.ACTIVE,
            "share_type_id": share_type["id"],
            "share_network_id": network_id,
            "snapshot_id": body.snapshot_id or None,
            "availability_zone": zone,
            "is_public": bool(body.is_public),
            "metadata": {**metadata, **hints.metadata},
            "options": {
                **share_options.resolve(
                    share_type["extra_specs"],
                    metadata,
                    call.settings.driver.share_volume_fstype,
                    parent["options"] if parent else None,
                ),
                **share_placement.options(hints, zones),
            },
        }
        row = shares.add(connection, **values)
        placement.keep_hints(connection, row)
        enqueue(connection, share_key(row["id"]), request_id=call.request_id)
        return SHARES.shown(call, connection, row)


def _reserve(call: Call, connection: Connection, size: int, share_type_id: str) -> None:
    """Charge the caller's project with a share of this size (GiB). Raises ``QuotaExceeded``."""
    quotas.reserve(
        connection,
        call.project_id,
        call.user_id,
        share_type_id,
        shares=1,
        gigabytes=size,
        per_share_gigabytes=size,
        defaults=call.settings.quota.limits(),
    )


def _protocol(call: Call, wanted: str) -> str:
    enabled = call.settings.driver.enabled_share_protocols
    for protocol in enabled:
        if protocol == wanted.upper():
            return protocol
    raise Invalid(
        f"Invalid share protocol provided: {wanted[:40]}. It is either disabled or unsupported. "
        f"Available protocols: {', '.join(enabled)}."
    )


def _share_type(
    call: Call, connection: Connection, body: Create, source: Source | None
) -> ShareType:
    if body.share_type and body.volume_type:
        raise Invalid("Cannot specify both share_type and volume_type.")
    name = body.share_type or body.volume_type
    if source is not None:
        found = sources.share_type(call, connection, source, name)
        _check_size(call, body, found)
        return found
    default = call.settings.driver.default_share_type
    if not name and not default:
        raise Invalid(
            "Share type must be specified, because the administrator has chosen no default."
        )
    try:
        found = share_types.find(connection, name or default, call.own_project)
    except NotFound:
        if name:
            raise NotFound("Share type not found.") from None
        raise Invalid(f"The default share type, {default}, does not exist.") from None
    _check_size(call, body, found)
    return found


def _check_size(call: Call, body: Create, share_type: ShareType) -> None:
    if call.version >= _SINCE_SIZE_SPECS:
        check_size(body.size, share_type["extra_specs"], "provisioning:max_share_size")


def check_size(size: int, specs: Mapping[str, str], largest: str) -> None:
    """Raise ``Invalid`` unless a share type allows this size (GiB); ``largest`` names its spec."""
    least, most = specs.get("provisioning:min_share_size"), specs.get(largest)
    if least is not None and least.isdigit() and size < int(least):
        raise Invalid(f"Share size must be at least {least} GiB with this share type.")
    if most is not None and most.isdigit() and size > int(most):
        raise Invalid(f"Share size must be at most {most} GiB with this share type.")


def _network(
    call: Call,
    connection: Connection,
    body: Create,
    share_type: ShareType,
    source: Source | None,
) -> str | None:
    wanted = body.share_network_id
    if source is not None:
        parents: str | None = source.parent["share_network_id"]
        if wanted and wanted != parents:
            raise Invalid(
                "Share network ID should be the same as snapshot's parent share's or empty."
            )
        return parents
    handles = is_true(share_type["extra_specs"].get("driver_handles_share_servers"))
    if not wanted:
        if handles:
            raise Invalid(
                "Share network must be set when the driver_handles_share_servers is true."
            )
        return None
    if not handles:
        raise Invalid(
            "Share network must not be provided when driver_handles_share_servers is false."
        )
    network = share_networks.require(connection, wanted, call.project_id)
    if network["status"] != NetworkStatus.ACTIVE:
        raise Invalid(f"Share network {wanted} is not active, but {network['status']}.")
    return wanted
