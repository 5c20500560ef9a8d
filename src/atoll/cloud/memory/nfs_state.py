"""The NFS server of a simulated instance: whether it runs, and which locks it knows of."""

from __future__ import annotations

import errno
import os

from atoll.cloud.memory.world import World
from atoll.errors import DeviceNotBlank, GuestError
from atoll.guest.base import WantedState


def keep(world: World, instance_id: str, wanted: WantedState) -> None:
    """Have the server keep its state on a volume. One that ran without it stops."""
    row = world.row(
        "SELECT signature, fs_uuid FROM volumes WHERE id = ? AND instance_id = ?",
        wanted.serial,
        instance_id,
    )
    if row is None:
        raise GuestError(f"The instance has no device with serial {wanted.serial}.")
    signature, fs_uuid = row
    if (signature is None and not wanted.may_format) or fs_uuid not in (None, wanted.fsid):
        raise DeviceNotBlank(f"Volume {wanted.serial} does not hold this server's state.")
    world.execute(
        "UPDATE volumes SET signature = 'ext4', fs_uuid = ?, fs_gib = size_gib WHERE id = ?",
        wanted.fsid,
        wanted.serial,
    )
    world.execute(
        "UPDATE instances SET nfs = 0, state_serial = ? WHERE id = ? AND state_serial IS NOT ?",
        wanted.serial,
        instance_id,
        wanted.serial,
    )


def start(world: World, instance_id: str, *, with_state: bool) -> None:
    """Start the server. Raises ``GuestError`` if it has no state, and needs one."""
    if not with_state:
        world.execute("UPDATE instances SET state_serial = '' WHERE id = ?", instance_id)
    started = world.execute(
        "UPDATE instances SET nfs = 1 WHERE id = ? AND state_serial IS NOT NULL", instance_id
    )
    if not started:
        raise GuestError("The NFS server does not start without the volume for its state.")


def is_running(world: World, instance_id: str) -> bool:
    """Whether the server runs."""
    row = world.row("SELECT nfs FROM instances WHERE id = ?", instance_id)
    return bool(row and row[0])


def lock(world: World, instance_id: str, fsid: str, name: str, to: str) -> None:
    """Grant the client ``to`` a lock on a file.

    Raises ``BlockingIOError`` if the server knows that another client has it. One that has lost its
    state grants the lock twice, which is an accident.
    """
    row = world.row("SELECT deployment, state_serial FROM instances WHERE id = ?", instance_id)
    deployment, serial = row or ("", "")
    state = serial or instance_id
    for holder, known_in in world.rows(
        "SELECT address, state FROM locks WHERE fsid = ? AND name = ? AND address <> ?",
        fsid,
        name,
        to,
    ):
        if known_in == state:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN), name)
        world.execute(
            "INSERT INTO accidents (deployment, text) VALUES (?, ?)",
            deployment,
            f"{to} was granted the lock of {name} that {holder} holds.",
        )
    world.execute("INSERT OR REPLACE INTO locks VALUES (?, ?, ?, ?)", fsid, name, to, state)


def unlock(world: World, fsid: str, name: str, address: str) -> None:
    """Release a client's lock."""
    world.execute(
        "DELETE FROM locks WHERE fsid = ? AND name = ? AND address = ?", fsid, name, address
    )
