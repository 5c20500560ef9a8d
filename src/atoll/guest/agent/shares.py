"""The verbs, which serve, remove and freeze shares. Each may be run again at any time."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

from . import devices, filesystems, freezing, listings, mounts, nfs, rules, samba
from .records import (
    FSID,
    PATH,
    SERIAL,
    SHARE_ID,
    Json,
    check,
    cifs_name,
    pass_fence,
    save_record,
)
from .system import AgentError, Deadline, locked, run

WANTED = {
    "share_id": SHARE_ID,
    "path": PATH,
    "serial": SERIAL,
    "fsid": FSID,
    "file_system": "|".join(filesystems.KINDS),
    "protocol": "NFS|CIFS",
    "squash": "|".join(nfs.SQUASH),
    "name": r"[A-Za-z0-9][A-Za-z0-9 ._-]{0,79}|",
}
FREEZE = {
    "share_id": SHARE_ID,
    "path": PATH,
    "token": r"[0-9a-f]{16,64}",
    "asker": r"[A-Za-z0-9._/-]{1,100}",
}
RULE = dict.fromkeys(("type", "to", "level"), r"[^\x00-\x1f]{1,255}")


def apply_share(args: Json, fence: int, deadline: Deadline) -> Json:
    """Serve a share exactly as wanted. If rules is None, the exports are not changed."""
    check(args, WANTED)
    for rule in args.get("rules") or ():
        check(rule, RULE)
    share_id, path = args["share_id"], args["path"]
    steps = Steps()
    with locked(f"share-{share_id}", deadline) as lock:
        record = pass_fence(share_id, fence)
        if record.get("path", path) != path and record["path"] in mounts.table():
            raise AgentError("failed", f"The share is mounted on {record['path']}.")
        steps.did("lock")
        made = bring_up(args, deadline, lock, steps)
        record.update({key: args[key] for key in ("path", "fsid", "protocol", "name", "serial")})
        rejected: dict[str, str] = {}
        if args.get("rules") is not None:
            record.update(squash=args["squash"], exported=bool(args["exported"]))
        save_record(share_id, record)
        if args.get("rules") is not None:
            rejected = export(args, deadline)
            steps.did("export")
        size, used = filesystems.space(path)
    return {
        "size_bytes": size,
        "used_bytes": used,
        "formatted": made,
        "rejected_rules": rejected,
        "steps": steps.seconds,
    }


def bring_up(args: Json, deadline: Deadline, lock: int, steps: Steps) -> bool:
    """Find the device, format it if allowed and safe, mount it, grow it; True if it is new."""
    share_id, path, fsid = args["share_id"], args["path"], args["fsid"].lower()
    device = devices.find(args["serial"], deadline)
    steps.did("device")
    mounted, number = mounts.table(), devices.numbers(device)
    replay = str(filesystems.replay_place(share_id))
    if mounted.get(replay, ("",))[0] == number:  # an earlier adoption was interrupted
        run(["umount", replay], deadline)
    if path in mounted and mounted[path][0] != number:
        if not devices.is_detached(mounted[path][0]):
            raise AgentError("failed", f"Another device is mounted on {path}.")
        unmount_detached(args, deadline)  # the volume was detached, and is attached again now
        steps.did("unmount")
        mounted = mounts.table()
    if path in mounted:
        kind = mounted[path][1]
    else:
        kind = mounts.mount_sound(device, path, fsid, deadline)
        if not kind:
            kind = prepare(args, device, deadline, lock, steps)
            mounts.mount(kind, device, path)
        steps.did("mount")
    # An agent may have been interrupted after the mount; an unfinished share is never exported.
    made = filesystems.is_unfinished(kind, device, path, deadline)
    if made:
        filesystems.finish(kind, device, path, args["squash"], deadline)
        steps.did("finish")
    if mounts.keep(kind, share_id, path, fsid):
        run(["systemctl", "daemon-reload"], deadline)
    steps.did("unit")
    devices.await_size(device, args.get("least_gib", 0) << 30, deadline)
    filesystems.grow(kind, device, path, deadline, lock)
    steps.did("grow")
    return made


def unmount_detached(args: Json, deadline: Deadline) -> None:
    """Unexport and unmount the file system of a disk that was detached."""
    share_id, path = args["share_id"], args["path"]
    if args["protocol"] == "CIFS":
        samba.unexport(cifs_name(args), deadline)
    else:
        nfs.export(share_id, path, "", "root_squash", {}, deadline)
    with locked(freezing.lock_of(share_id), deadline):
        freezing.end(share_id, path, deadline)
        mounts.unmount(path, deadline)


def prepare(args: Json, device: str, deadline: Deadline, lock: int, steps: Steps) -> str:
    """Make the device's file system, or prepare it to be mounted; return its kind."""
    fsid = args["fsid"].lower()
    found = filesystems.probe(device, deadline)
    action = filesystems.plan(found, fsid, bool(args.get("may_format")))
    kind: str = args["file_system"] if action in ("make", "remake") else found[0].kind
    steps.did("probe")
    if action in ("make", "remake"):
        filesystems.make(kind, device, fsid, action == "remake", deadline, lock)
    elif action == "adopt":
        filesystems.adopt(kind, device, args["share_id"], fsid, deadline, lock)
    elif kind == "ext4":
        filesystems.repair(device, deadline, lock)
    steps.did(action)
    return kind


def export(args: Json, deadline: Deadline) -> dict[str, str]:
    """Admit exactly the clients in the rules; return ``{to: reason}`` of refused rules."""
    share_id, path = args["share_id"], args["path"]
    accepted, rejected = rules.servable(args["rules"], args["protocol"])
    served = accepted if args["exported"] else {}
    private = bool(args.get("private"))
    if args["protocol"] == "CIFS":
        samba.export(share_id, cifs_name(args), path, served, deadline, listed=not private)
        return rejected
    refused = nfs.export(share_id, path, args["fsid"].lower(), args["squash"], served, deadline)
    if private:  # after the rules, so that they are applied even if this fails
        listings.hide(deadline)
    for rule in args["rules"]:
        if rule["to"] not in rejected and rules.canonical(rule["to"]) in refused:
            rejected[rule["to"]] = refused[rules.canonical(rule["to"])]
    return rejected


def remove_share(args: Json, fence: int, deadline: Deadline) -> Json:
    """Stop serving a share and release its device; only its fence is kept."""
    check(args, {"share_id": SHARE_ID, "path": PATH})
    share_id = args["share_id"]
    with locked(f"share-{share_id}", deadline):
        record = pass_fence(share_id, fence)
        path: str = record.get("path") or args["path"]
        if record.get("protocol") == "CIFS":
            samba.unexport(cifs_name(record), deadline)
        else:
            nfs.export(share_id, path, "", "root_squash", {}, deadline)
        mounts.forget(share_id, path, record.get("fsid", ""))
        # The freeze lock is held, because a freeze after the unmount would freeze the root disk.
        with locked(freezing.lock_of(share_id), deadline):
            freezing.end(share_id, path, deadline)
            lazy = mounts.unmount(path, deadline)
        with contextlib.suppress(OSError):
            Path(path).rmdir()
        save_record(share_id, {"fence": record["fence"]})
    return {"lazy": lazy}


def freeze_share(args: Json, fence: int, deadline: Deadline) -> Json:
    """Freeze a share's file system for at most ``seconds``; busy during another freeze."""
    check(args, FREEZE)
    share_id, path = args["share_id"], args["path"]
    seconds = min(max(float(args["seconds"]), 0.1), 300.0)
    with locked(freezing.lock_of(share_id), deadline):
        if path not in mounts.table():
            raise AgentError("failed", f"{path} is not mounted.")
        if args.get("take_over"):
            freezing.end(share_id, path, deadline)
        freezing.freeze(share_id, path, args["token"], args["asker"], seconds, deadline)
    return {}


def thaw_share(args: Json, fence: int, deadline: Deadline) -> Json:
    """End this freeze, even of another agent. It is an error if it did not last until now."""
    check(args, {key: FREEZE[key] for key in ("share_id", "path", "token")})
    share_id, path = args["share_id"], args["path"]
    with locked(freezing.lock_of(share_id), deadline):
        held = freezing.thaw(share_id, path, args["token"], deadline)
    if not held:
        raise AgentError("freeze_lost", f"{path} was thawed too early.")
    return {}


class Steps:
    """Measures how long each step took, for the answer."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.monotonic()

    def did(self, step: str) -> None:
        """Record the end of a step."""
        now = time.monotonic()
        self.seconds[step] = round(now - self._last, 4)
        self._last = now
