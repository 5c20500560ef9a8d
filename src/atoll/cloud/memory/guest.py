"""The guest agent of a simulated instance, with the guest port's semantics, on the world's rows."""

from __future__ import annotations

import functools
import json
import os
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from typing import Concatenate, ParamSpec, TypeVar, get_args
from uuid import uuid4

from atoll.cloud.memory import nfs_state
from atoll.cloud.memory.gate import Gate, call
from atoll.errors import (
    AtollError,
    DeviceNotBlank,
    FreezeLost,
    GuestBusy,
    GuestError,
    GuestUnreachable,
    StaleFence,
)
from atoll.guest.agent.rules import digest as rules_digest
from atoll.guest.agent.rules import servable
from atoll.guest.base import (
    Admitted,
    AppliedShare,
    ExportRule,
    FileSystem,
    Freeze,
    Health,
    ServedShare,
    ShareUsage,
    WantedShare,
    WantedState,
)
from atoll.model.states import FileSystemState

GIB = 1 << 30
_USED = "(SELECT coalesce(sum(length(data)), 0) FROM files WHERE disk_id = {})"

P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate["MemoryGuest", P], R]


def _patient(method: Method[P, R]) -> Method[P, R]:
    """That the guest is silent is noticed only after a while, as in a network."""

    @functools.wraps(method)
    def waiting(self: MemoryGuest, /, *args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return method(self, *args, **kwargs)
        except GuestUnreachable:
            time.sleep(self.silence)
            raise

    return waiting


class MemoryGuest:
    """Implements ``Guest``: one channel, which ends with a reboot or the end of its instance."""

    port = "guest"
    unanswered: type[AtollError] = GuestUnreachable

    def __init__(self, gate: Gate, instance_id: str, boot_id: str, silence: float) -> None:
        self.gate = gate
        self.silence = silence
        self._world = gate.world
        self._instance_id = instance_id
        self._boot_id = boot_id
        self.alive = True
        """False once the channel has ended."""
        self._channel = f"{os.getpid()}/{uuid4()}"

    def subject(self) -> str:
        """The instance."""
        return self._instance_id

    @_patient
    @call
    def apply_share(
        self,
        wanted: WantedShare,
        *,
        fence: int,
        deadline: float = 60,
    ) -> AppliedShare:
        """Format if allowed, mount, grow to the volume's size, export."""
        self._reach()
        self._pass_fence(wanted.share_id, fence)
        formatted, size_gib = self._prepare_disk(wanted)
        rejected = self._export(wanted)
        row = self._world.row(f"SELECT {_USED.format('?')}", wanted.serial)
        return AppliedShare(size_gib * GIB, row[0] if row else 0, formatted, rejected)

    @_patient
    @call
    def remove_share(
        self,
        share_id: str,
        path: str,
        *,
        fence: int,
        deadline: float = 60,
    ) -> None:
        """Unexport, thaw, flush and unmount the share. It may be gone already."""
        self._reach()
        self._pass_fence(share_id, fence)
        self._flush(share_id)
        self._world.execute(
            "DELETE FROM served WHERE instance_id = ? AND share_id = ?",
            self._instance_id,
            share_id,
        )

    @_patient
    @call
    def freeze_share(self, share_id: str, path: str, freeze: Freeze, *, seconds: float) -> None:
        """Flush and freeze. It thaws by itself after ``seconds``, or when this channel ends."""
        self._reach()
        row = self._world.row(
            "SELECT frozen_until, frozen_by, frozen_for FROM served"
            " WHERE instance_id = ? AND share_id = ? AND mounted",
            self._instance_id,
            share_id,
        )
        if row is None:
            raise GuestError(f"Share {share_id} is not mounted.")
        if is_frozen(row[0], row[1]) and row[2] != freeze.asker and not freeze.takes_over:
            raise GuestBusy(f"Share {share_id} is frozen for somebody else.")
        self._flush(share_id)
        self._world.execute(
            "UPDATE served SET frozen_until = ?, frozen_by = ?, frozen_for = ?, freeze_token = ?"
            " WHERE instance_id = ? AND share_id = ?",
            time.time() + seconds,
            self._channel,
            freeze.asker,
            freeze.token,
            self._instance_id,
            share_id,
        )

    @_patient
    @call
    def thaw_share(self, share_id: str, path: str, freeze: Freeze) -> None:
        """End this freeze, and no other. Raises ``FreezeLost`` if it has ended already."""
        self._reach()
        row = self._world.row(
            "SELECT frozen_until, frozen_by FROM served"
            " WHERE instance_id = ? AND share_id = ? AND freeze_token = ?",
            self._instance_id,
            share_id,
            freeze.token,
        )
        self._world.execute(
            "UPDATE served SET frozen_until = NULL, freeze_token = NULL"
            " WHERE instance_id = ? AND share_id = ? AND freeze_token = ?",
            self._instance_id,
            share_id,
            freeze.token,
        )
        if row is None or not is_frozen(row[0], row[1]):
            raise FreezeLost(f"The freeze of share {share_id} had ended before.")

    @_patient
    @call
    def keep_state(self, wanted: WantedState, *, deadline: float = 60) -> None:
        """Have the NFS server keep what clients reclaim by on a volume."""
        self._reach()
        nfs_state.keep(self._world, self._instance_id, wanted)

    @_patient
    @call
    def start_nfs(self, *, with_state: bool = True, deadline: float = 60) -> None:
        """Start the NFS server if it does not run."""
        self._reach()
        nfs_state.start(self._world, self._instance_id, with_state=with_state)

    @_patient
    @call
    def notify_clients(self, *, deadline: float = 30) -> None:
        """Do nothing: simulated clients come back by themselves."""
        self._reach()

    @_patient
    @call
    def usage(self, *, deadline: float = 10) -> tuple[ShareUsage, ...]:
        """Sizes of all shares."""
        self._reach()
        rows = self._world.rows(
            f"SELECT share_id, fs_gib, {_USED.format('serial')}"  # noqa: S608
            " FROM served JOIN volumes ON volumes.id = serial"
            " WHERE served.instance_id = ? AND mounted",
            self._instance_id,
        )
        return tuple(ShareUsage(share_id, gib * GIB, used) for share_id, gib, used in rows)

    @_patient
    @call
    def health(self, *, deadline: float = 10) -> Health:
        """What the instance actually serves."""
        ready_at = self._reach()
        rows = self._world.rows(
            "SELECT share_id, mounted, mounted AND exported, fence, rules_digest,"
            " coalesce(fs_state, 'sound') FROM served JOIN fences USING (instance_id, share_id)"
            " LEFT JOIN volumes ON volumes.id = serial WHERE served.instance_id = ?",
            self._instance_id,
        )
        shares = tuple(
            ServedShare(share_id, bool(mounted), bool(exported), fence, has, FileSystemState(state))
            for share_id, mounted, exported, fence, has, state in rows
        )
        uptime = max(0.0, time.time() - ready_at)
        running = nfs_state.is_running(self._world, self._instance_id)
        return Health(self._boot_id, nfs_running=running, smb_running=True, uptime_seconds=uptime,
                      shares=shares)  # fmt: skip

    def ping(self) -> bool:
        """Whether the instance answers now."""
        try:
            self._reach()
        except GuestUnreachable:
            return False
        return True

    @_patient
    @call
    def admitted(self, share_id: str, *, deadline: float = 10) -> Admitted:
        """The clients that may use the share."""
        self._reach()
        row = self._world.row(
            "SELECT rules FROM served WHERE instance_id = ? AND share_id = ?",
            self._instance_id,
            share_id,
        )
        rules = json.loads(row[0]) if row else []
        return Admitted(row is not None, tuple(ExportRule(*rule) for rule in rules))

    def close(self) -> None:
        """End the channel. What it froze thaws."""
        self.alive = False
        with self._world.change():
            self._world.execute(
                "UPDATE served SET frozen_until = NULL WHERE instance_id = ? AND frozen_by = ?",
                self._instance_id,
                self._channel,
            )

    def _reach(self) -> float:
        """When this boot was finished.

        Raises ``GuestUnreachable`` if the instance doesn't answer.
        """
        row = self._world.row(
            "SELECT boot_id, hung, ready_at FROM instances WHERE id = ? AND power = 'active'",
            self._instance_id,
        )
        is_cut_off = self.gate.faults.is_cut_off(self._instance_id)
        if row is None or row[1] or row[2] > time.time() or is_cut_off:
            raise GuestUnreachable(f"Instance {self._instance_id} does not answer.")
        if row[0] != self._boot_id or not self.alive:
            self.alive = False
            raise GuestUnreachable(f"The channel to instance {self._instance_id} was cut.")
        return float(row[2])

    def _pass_fence(self, share_id: str, fence: int) -> None:
        passed = self._world.execute(
            "INSERT INTO fences VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET fence = excluded.fence"
            " WHERE excluded.fence >= fences.fence",
            self._instance_id,
            share_id,
            fence,
        )
        if not passed:
            raise StaleFence(f"A newer operation than {fence} has acted on share {share_id}.")

    def _prepare_disk(self, wanted: WantedShare) -> tuple[bool, int]:
        """Whether the volume was formatted, and the file system's size in GiB."""
        row = self._world.row(
            "SELECT size_gib, signature, fs_uuid, fs_gib FROM volumes"
            " WHERE id = ? AND instance_id = ?",
            wanted.serial,
            self._instance_id,
        )
        if row is None:
            raise GuestError(f"The instance has no device with serial {wanted.serial}.")
        size_gib, signature, fs_uuid, fs_gib = row
        state = self._world.row(
            "SELECT mounted, frozen_until, frozen_by FROM served"
            " WHERE instance_id = ? AND share_id = ?",
            self._instance_id,
            wanted.share_id,
        )
        if state and fs_gib != size_gib and is_frozen(state[1], state[2]):
            raise GuestError(f"Share {wanted.share_id} is frozen, so it can't grow.")
        if not (state and state[0]):
            _check_disk(wanted, signature, fs_uuid)
            # The agent repairs a file system before it mounts it.
            repair = "UPDATE volumes SET fs_state = 'sound' WHERE id = ?"
            self._world.execute(repair, wanted.serial)
        self._world.execute(
            "UPDATE volumes SET signature = ?, fs_uuid = ?, fs_gib = ? WHERE id = ?",
            signature or wanted.file_system,
            wanted.fsid,
            size_gib,
            wanted.serial,
        )
        return signature is None, size_gib

    def _export(self, wanted: WantedShare) -> dict[str, str]:
        """Mount and export. Returns the rules that were refused, with the reason."""
        accepted, rejected = servable(map(asdict, wanted.rules or ()), wanted.protocol)
        exported = accepted if wanted.exported else {}
        rules = [(kind, to, level) for (kind, to), level in exported.items()]
        self._world.execute(
            "INSERT INTO served"
            " VALUES (?, ?, ?, ?, ?, ?, ?, ?, '[]', ?, 0, 1, NULL, NULL, NULL, NULL)"
            " ON CONFLICT DO UPDATE SET serial = excluded.serial, path = excluded.path,"
            " protocol = excluded.protocol, fsid = excluded.fsid, name = excluded.name,"
            " mounted = 1",
            self._instance_id,
            wanted.share_id,
            wanted.serial,
            wanted.path,
            wanted.protocol,
            wanted.fsid,
            wanted.name or wanted.path.rpartition("/")[2],
            wanted.squash,
            _digest((), wanted.squash),
        )
        if wanted.rules is not None:
            self._world.execute(
                "UPDATE served SET rules = ?, rules_digest = ?, squash = ?, exported = ?"
                " WHERE instance_id = ? AND share_id = ?",
                json.dumps(rules),
                _digest(rules, wanted.squash),
                wanted.squash,
                wanted.exported,
                self._instance_id,
                wanted.share_id,
            )
        return rejected

    def _flush(self, share_id: str) -> None:
        self._world.execute(
            "UPDATE OR REPLACE files SET flushed = 1 WHERE NOT flushed AND disk_id IN"
            " (SELECT serial FROM served WHERE instance_id = ? AND share_id = ? AND mounted)",
            self._instance_id,
            share_id,
        )


def is_frozen(until: float | None, channel: str | None) -> bool:
    """Whether a freeze still holds. It ends with its time and with its channel's process."""
    if until is None or channel is None or until < time.time():
        return False
    try:
        os.kill(int(channel.partition("/")[0]), 0)
    except ProcessLookupError:
        return False
    return True


def _check_disk(wanted: WantedShare, signature: str | None, fs_uuid: str | None) -> None:
    """Refuse to format what may hold data. A clone carries its parent's UUID until it is mounted;
    a volume that may be formatted carries ours, or nothing."""
    if signature is None and not wanted.may_format:
        raise DeviceNotBlank(f"Volume {wanted.serial} has no file system, and may get none.")
    if signature not in (None, *get_args(FileSystem)):
        raise DeviceNotBlank(f"Volume {wanted.serial} carries {signature}.")
    if signature is not None and fs_uuid != wanted.fsid and wanted.may_format:
        raise DeviceNotBlank(f"Volume {wanted.serial} carries another file system.")


def _digest(rules: Iterable[tuple[str, str, str]], squash: str) -> str:
    return rules_digest(
        ({"type": kind, "to": to, "level": level} for kind, to, level in rules), squash
    )
