"""What the instance serves, by the tables of the kernel and of the servers."""

from __future__ import annotations

from pathlib import Path

from . import devices, filesystems, mounts, nfs, rules, samba, soundness, state
from .records import SHARE_ID, Json, boot_id, check, cifs_name, records
from .system import AgentError, Deadline, locked, read, run


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
            present = section is not None and samba.running()
            found[share_id] = present, samba.rules_of(section or {}), squash
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
