"""Logging in to a simulated instance, with the checks of a real one."""

from __future__ import annotations

import time

from atoll.cloud.base import Access
from atoll.cloud.memory.gate import Gate
from atoll.cloud.memory.guest import MemoryGuest
from atoll.cloud.memory.world import World
from atoll.errors import GuestUnreachable


def open_guest(gate: Gate, instance_id: str, access: Access, silence: float) -> MemoryGuest:
    """Open a channel to the instance that answers at this address with this host key."""
    row = _login(gate.world, instance_id, access)
    if row is None or gate.faults.is_cut_off(instance_id):
        time.sleep(silence)
        raise GuestUnreachable(f"Instance {instance_id} does not answer at {access.address}.")
    boot_id, user, host_key = row
    if host_key != access.host_key_public:
        raise GuestUnreachable(f"Instance {instance_id} shows another host key than it was given.")
    if user != access.user:
        raise GuestUnreachable(f"Instance {instance_id} lets no {access.user!r} in.")
    return MemoryGuest(gate, instance_id, boot_id, silence)


def _login(world: World, instance_id: str, access: Access) -> tuple[str, str, str] | None:
    row: tuple[str, str, str] | None = world.row(
        "SELECT boot_id, user, host_key FROM instances"
        " WHERE id = ? AND power = 'active' AND NOT hung AND ready_at <= ?"
        " AND EXISTS (SELECT 1 FROM ports WHERE instance_id = instances.id AND address = ?)",
        instance_id,
        time.time(),
        access.address,
    )
    return row
