"""Actions on a share: extend, and those that are refused."""

from __future__ import annotations

from typing import Annotated, Final

import msgspec

from atoll.api.frame import bodies
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Routes
from atoll.api.shares.create import check_size
from atoll.api.shares.shares import own
from atoll.db import operations, quotas, share_types, shares
from atoll.engine.queue import enqueue
from atoll.errors import Conflict, Forbidden, Invalid, QuotaExceeded
from atoll.model import features
from atoll.model.keys import share_key
from atoll.model.states import ShareStatus

routes = Routes()
RULES = rules(
    member=(
        "share:extend",
        "share:shrink",
        "share:revert_to_snapshot",
        "share:reset_task_state",
        "share:soft_delete",
        "share:restore",
    ),
    admin=(
        "share:force_extend",
        "share:unmanage",
        "share:migration_start",
    ),
)

SHARE: Final = "/shares/{share_id}"
_SINCE_SIZE_SPECS: Final = 61


class Resize(msgspec.Struct):
    """A new size, in GiB."""

    new_size: bodies.Size
    force: Annotated[bool, bodies.since("2.64")] = False


@routes.action(SHARE, "extend", policy="share:extend", legacy="os-extend")
def extend(call: Call, share_id: str, body: Resize) -> None:
    """Want the share larger; clients that have it mounted go on."""
    if body.force:
        call.enforce(rule="share:force_extend")
    with call.database.begin() as connection:
        row = own(call, connection, share_id)
        if row["status"] != ShareStatus.AVAILABLE:
            raise Invalid(
                f"Invalid share: its status must be available to be extended, and is "
                f"{row['status'].shown}."
            )
        if body.new_size <= row["size"]:
            raise Invalid(
                "Invalid input: New size for extend must be greater than current size "
                f"(current: {row['size']} GiB, new: {body.new_size} GiB)."
            )
        charged = shares.charged_size(row)
        if body.new_size < charged and operations.is_busy(connection, share_key(share_id)):
            raise Conflict(
                f"An earlier extension to {charged} GiB has not ended yet.",
                hint="Try again shortly.",
            )
        if call.version >= _SINCE_SIZE_SPECS:
            specs = share_types.find(connection, row["share_type_id"])["extra_specs"]
            by_admin = call.is_admin and "provisioning:max_share_extend_size" in specs
            check_size(
                body.new_size,
                specs,
                "provisioning:max_share_extend_size" if by_admin else "provisioning:max_share_size",
            )
        try:
            quotas.reserve(
                connection,
                row["project_id"],
                row["user_id"],
                row["share_type_id"],
                gigabytes=body.new_size - charged,
                per_share_gigabytes=body.new_size,
                defaults=call.settings.quota.limits(),
            )
        except QuotaExceeded as error:
            # Manila answers 413 when a share is made, and 403 when it is extended.
            raise Forbidden(error.message, hint=error.hint) from None
        shares.change(connection, share_id, status=ShareStatus.EXTENDING, wanted_size=body.new_size)
        enqueue(connection, share_key(share_id), request_id=call.request_id)


@routes.action(SHARE, "shrink", policy="share:shrink", legacy="os-shrink", needs=features.SHRINK)
def shrink(call: Call, share_id: str, body: Resize) -> None:
    """Volumes can't become smaller."""
    with call.database.begin() as connection:
        row = own(call, connection, share_id)
    if body.new_size >= row["size"]:
        raise Invalid(
            "Invalid input: New size for shrink must be less than current size "
            f"(current: {row['size']} GiB, new: {body.new_size} GiB)."
        )
    features.SHRINK.check()


class Revert(msgspec.Struct):
    """The snapshot to go back to."""

    snapshot_id: bodies.Id


@routes.action(
    SHARE, "revert", policy="share:revert_to_snapshot", since="2.27", needs=features.REVERT
)
def revert(call: Call, share_id: str, body: Revert) -> None:
    """A share stays what it is; a new one can be made from the snapshot."""
    with call.database.begin() as connection:
        own(call, connection, share_id)
    features.REVERT.check(share=share_id, snapshot=body.snapshot_id)


@routes.action(
    SHARE, "soft_delete", policy="share:soft_delete", since="2.69", needs=features.RECYCLE_BIN
)
def soft_delete(call: Call, share_id: str) -> None:
    """There is no recycle bin."""
    with call.database.begin() as connection:
        own(call, connection, share_id)
    features.RECYCLE_BIN.check()


@routes.action(SHARE, "restore", policy="share:restore", since="2.69", status=200)
def restore(call: Call, share_id: str) -> None:
    """A share that is not in the recycle bin needs no restoring."""
    with call.database.begin() as connection:
        own(call, connection, share_id)


class ResetTask(msgspec.Struct):
    """The task state that a share is to show."""

    task_state: str | None = None


@routes.action(SHARE, "reset_task_state", policy="share:reset_task_state", since="2.22")
def reset_task_state(call: Call, share_id: str, body: ResetTask) -> None:
    """Shares have no task state, and that is what it can be reset to.

    ``openstack share set`` asks for this every time, so it is not for administrators only.
    """
    with call.database.begin() as connection:
        own(call, connection, share_id)
    if body.task_state is not None:
        features.TASK_STATES.check()


@routes.action(SHARE, "unmanage", policy="share:unmanage", needs=features.UNMANAGE)
def unmanage(call: Call, share_id: str) -> None:
    """Not possible with share servers of our own."""
    with call.database.begin() as connection:
        own(call, connection, share_id)
    features.UNMANAGE.check()


@routes.action(
    SHARE,
    "migration_start",
    policy="share:migration_start",
    since="2.29",
    experimental=True,
    needs=features.MIGRATION,
)
def migration_start(call: Call, share_id: str) -> None:
    """There is one host, so nowhere to migrate to."""
    with call.database.begin() as connection:
        own(call, connection, share_id)
    features.MIGRATION.check()
