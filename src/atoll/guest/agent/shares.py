"""The verbs, which serve, remove and freeze shares. Each may be run again at any time."""

from __future__ import annotations

import contextlib
import json
import re
import time
from pathlib import Path
from typing import Any

from . import devices, filesystems, freezing, listings, mounts, nfs, rules, samba, soundness, state
from .system import ROOT, AgentError, Deadline, locked, read, run, write

RECORDS = ROOT / "var/lib/atoll/shares"
SHARE_ID = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
PATH = r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*){2,16}"
WANTED = {
    "share_id": SHARE_ID,
    "path": PATH,
    "serial": r"[A-Za-z0-9._-]{1,64}",
    "fsid": r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}",
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
Json = dict[str, Any]


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


def keep_state(args: Json, fence: int, deadline: Deadline) -> Json:
    """Mount the volume on which the NFS server keeps what clients reclaim by."""
    check(args, {key: WANTED[key] for key in ("serial", "fsid")})
    state.keep(args["serial"], args["fsid"].lower(), bool(args.get("may_format")), deadline)
    return {}


def start_nfs(args: Json, fence: int, deadline: Deadline) -> Json:
    """Start the NFS server if it does not run."""
    state.start_nfs(bool(args.get("with_state", True)), deadline)
    return {}


def notify_clients(args: Json, fence: int, deadline: Deadline) -> Json:
    """Have clients of the former instance come back at once."""
    state.notify_clients(deadline)
    return {}


def usage(args: Json, fence: int, deadline: Deadline) -> Json:
    """Sizes of all mounted shares."""
    mounted = mounts.table()
    shares = []
    for share_id, record in records().items():
        if record["path"] in mounted:
            size, used = filesystems.space(record["path"])
            shares.append({"share_id": share_id, "size_bytes": size, "used_bytes": used})
    return {"shares": shares}


def health(args: Json, fence: int, deadline: Deadline) -> Json:
    """The state of the instance, and what it serves according to the servers' tables."""
    known, mounted, attached = records(), mounts.table(), devices.attached()
    replace_mount_units(known, mounted, deadline)
    file_systems = soundness.states()
    shares = []
    for share_id, (present, served, squash) in exports(known, deadline).items():
        record = known[share_id]
        is_mounted = record["path"] in mounted and is_attached(
            record, mounted[record["path"]][0], attached
        )
        shares.append(
            {
                "share_id": share_id,
                "mounted": is_mounted,
                "exported": bool(record.get("exported")) and present and is_mounted,
                "fence": record["fence"],
                "rules_digest": rules.digest(served, squash),
                "file_system_state": file_systems.get(record["path"], soundness.SOUND)
                if is_mounted
                else soundness.SOUND,
            }
        )
    return {
        "boot_id": boot_id(),
        "nfs_running": state.is_running(),
        "smb_running": samba.running(),
        "uptime_seconds": float(read(Path("/proc/uptime"), "0").split()[0]),
        "shares": shares,
    }


def admitted(args: Json, fence: int, deadline: Deadline) -> Json:
    """The clients that may use a share, according to the servers' tables."""
    check(args, {"share_id": SHARE_ID})
    share_id = args["share_id"]
    record = records().get(share_id)
    if record is None:
        return {"known": False}
    present, served, _ = exports({share_id: record}, deadline)[share_id]
    if record.get("exported") and not present:
        raise AgentError("failed", "The server's table does not have the share at the moment.")
    return {"known": True, "rules": served}


def exports(
    known: dict[str, Json], deadline: Deadline
) -> dict[str, tuple[bool, list[dict[str, str]], str]]:
    """By share: whether the server has what was written for it, its rules and its squash mode."""
    clients: dict[str, list[tuple[str, frozenset[str]]]] = {}
    for where, client, options in nfs.table():
        clients.setdefault(where, []).append((client, options))
    sections: dict[str, samba.Section] = {}
    if any(record["protocol"] == "CIFS" for record in known.values()):
        sections = samba.REGISTRY_READER.sections(deadline)
    found: dict[str, tuple[bool, list[dict[str, str]], str]] = {}
    for share_id, record in known.items():
        squash = record.get("squash", "root_squash")
        if record["protocol"] == "CIFS":
            section = sections.get(cifs_name(record).lower())
            found[share_id] = section is not None, samba.rules_of(section or {}), squash
            continue
        entries = clients.get(record["path"], [])
        present = bool(entries) == (nfs.EXPORTS / f"{share_id}.exports").exists()
        served = [
            {"type": "ip", "to": client, "level": "rw" if "rw" in options else "ro"}
            for client, options in entries
        ]
        found[share_id] = present, served, nfs.squash_of(entries[0][1]) if entries else squash
    return found


def is_attached(record: Json, number: str, attached: dict[str, str]) -> bool:
    """Whether the mounted disk of a share is still attached; a detached disk stays mounted."""
    if "serial" not in record:  # an older agent wrote it
        return True
    names = devices.disks(record["serial"], attached)
    return number in [devices.numbers(f"/dev/{name}") for name in names]


VERBS = {
    "apply_share": apply_share,
    "remove_share": remove_share,
    "freeze_share": freeze_share,
    "thaw_share": thaw_share,
    "keep_state": keep_state,
    "start_nfs": start_nfs,
    "notify_clients": notify_clients,
    "usage": usage,
    "health": health,
    "admitted": admitted,
}


# --- what the verbs share ---------------------------------------------------------------------


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


def check(args: Json, patterns: dict[str, str]) -> None:
    """Refuse malformed arguments before anything is changed."""
    for key, pattern in patterns.items():
        value = args.get(key)
        if not isinstance(value, str) or not re.fullmatch(pattern, value):
            raise AgentError("invalid", f"{key} is malformed: {str(value)[:100]!r}")
    if args.get("name", "").lower() in samba.RESERVED:
        raise AgentError("invalid", f"{args['name']!r} can't be a share's name.")


def cifs_name(share: Json) -> str:
    """The name that CIFS clients use."""
    return str(share["name"] or Path(share["path"]).name)


def boot_id() -> str:
    """The id of the instance's present boot."""
    return read(Path("/proc/sys/kernel/random/boot_id")).strip()


def load_record(share_id: str) -> Json:
    """The last request for this share; empty if there was none."""
    try:
        record = json.loads(read(RECORDS / f"{share_id}.json", "{}"))
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def save_record(share_id: str, record: Json) -> None:
    """Store the last request for this share."""
    write(RECORDS / f"{share_id}.json", json.dumps(record, sort_keys=True))


def replace_mount_units(
    known: dict[str, Json], mounted: dict[str, tuple[str, str]], deadline: Deadline
) -> None:
    """Replace the mount units of older agents, because systemd may unmount them."""
    replaced = False
    for share_id, record in known.items():
        path = record["path"]
        if path in mounted and mounts.has_mount_unit(path):
            with locked(f"share-{share_id}", deadline):
                replaced |= mounts.keep(mounted[path][1], share_id, path, record["fsid"].lower())
    if replaced:
        run(["systemctl", "daemon-reload"], deadline)


def records() -> dict[str, Json]:
    """The records of all served shares; those of removed shares have only a fence."""
    found = {path.stem: load_record(path.stem) for path in sorted(RECORDS.glob("*.json"))}
    return {share_id: record for share_id, record in found.items() if "path" in record}


def pass_fence(share_id: str, fence: int) -> Json:
    """Refuse an operation with an old fence, else store its fence; return the record."""
    record = load_record(share_id)
    if fence < record.get("fence", 0):
        raise AgentError(
            "stale_fence",
            f"A newer operation, with fence {record['fence']}, has acted on the share.",
        )
    if fence > record.get("fence", -1):
        record["fence"] = fence
        save_record(share_id, record)
    return record
