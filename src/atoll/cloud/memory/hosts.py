"""The hosts of simulated instances, one for each instance. A host may be cut off.

The fault ``cut_off`` cuts it off (see ``faults.py``). An instance that is deleted meanwhile goes on
writing to the volumes that it had, although the cloud says that it is gone. When the host is
reached again, it ends such an instance by itself.
"""

from __future__ import annotations

from atoll.cloud.base import Fencing, FencingState
from atoll.cloud.memory.gate import Gate
from atoll.errors import CloudUnavailable


def reach(gate: Gate, instance_id: str) -> None:
    """Raise ``CloudUnavailable`` if an instance's host is cut off."""
    if gate.faults.is_cut_off(instance_id):
        raise CloudUnavailable(f"The host of instance {instance_id} does not answer.")


def fencing(gate: Gate, instance_id: str) -> Fencing:
    """What the cloud knows about the end of an instance, which may be gone."""
    runs = gate.world.row(
        "SELECT 1 FROM instances WHERE id = ? UNION SELECT 1 FROM lingering WHERE instance_id = ?",
        instance_id,
        instance_id,
    )
    if runs and gate.faults.is_cut_off(instance_id) and not _is_forced_down(gate, instance_id):
        reason = f"The host of instance {instance_id} does not answer."
        return Fencing(FencingState.DOUBTFUL, reason)
    exists = gate.world.row("SELECT 1 FROM instances WHERE id = ?", instance_id)
    is_known_to_end = not exists or _is_forced_down(gate, instance_id)
    return Fencing(FencingState.PROVED if is_known_to_end else FencingState.POSSIBLE)


def force_down(gate: Gate, instance_id: str) -> None:
    """Switch an instance's host off, and tell the cloud. Call this within a change."""
    gate.world.execute("INSERT OR IGNORE INTO forced_down VALUES (?)", instance_id)


def let_linger(gate: Gate, instance_id: str) -> None:
    """Remember an instance on a host that is cut off, and what it writes to, before it goes."""
    if gate.faults.is_cut_off(instance_id) and not _is_forced_down(gate, instance_id):
        gate.world.execute(
            "INSERT OR IGNORE INTO lingering SELECT id, '' FROM instances WHERE id = ?"
            " UNION SELECT i.id, v.id FROM instances i JOIN volumes v ON v.instance_id = i.id"
            " WHERE i.id = ? AND power = 'active'",
            instance_id,
            instance_id,
        )


def writers(gate: Gate, volume_id: str) -> list[str]:
    """Instances that were deleted, and still write to a volume."""
    rows = gate.world.rows(
        "SELECT instance_id FROM lingering WHERE volume_id = ?"
        " AND instance_id IN (SELECT about FROM faults WHERE action = 'cut_off')"
        " AND instance_id NOT IN (SELECT instance_id FROM forced_down)",
        volume_id,
    )
    return [instance_id for (instance_id,) in rows]


def _is_forced_down(gate: Gate, instance_id: str) -> bool:
    query = "SELECT 1 FROM forced_down WHERE instance_id = ?"
    return gate.world.row(query, instance_id) is not None
