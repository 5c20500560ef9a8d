"""CIFS shares: each has a section in Samba's registry, changed by one ``net conf import``."""

from __future__ import annotations

import ipaddress
import re
import threading

from .rules import Rules
from .system import ANY_STATUS, ROOT, RUN, Deadline, link, locked, read, remove, run, write

REGISTRY = ROOT / "var/lib/samba/registry.tdb"
SMBD_PID = ROOT / "run/samba/smbd.pid"
WANTED_AT_BOOT = ROOT / "etc/systemd/system/multi-user.target.wants/smbd.service"
RESERVED = ("global", "homes", "printers", "print$", "ipc$")
Section = dict[str, str]
"""``{parameter: value}`` of one share."""


def section(path: str, rules: Rules, listed: bool = True) -> Section:
    """The section that admits exactly the clients in ``rules``; all can see a listed share."""
    hosts = [to for kind, to in rules if kind == "ip"]
    users = {to: level for (kind, to), level in rules.items() if kind == "user"}
    wanted = {
        "path": path,
        "browseable": "yes" if listed else "no",
        "read only": "yes" if users else "no",
        "guest ok": "no" if users else "yes",
        "hosts deny": "ALL",
    }
    if rules:
        wanted["hosts allow"] = " ".join(hosts) or "ALL"
    if users:
        wanted["valid users"] = " ".join(f'"{name}"' for name in users)
        writers = [f'"{name}"' for name, level in users.items() if level == "rw"]
        if writers:
            wanted["write list"] = " ".join(writers)
    return wanted


def rules_of(found: Section) -> list[dict[str, str]]:
    """The rules of a section, the reverse of ``section``."""
    users = re.findall(r'"([^"]+)"', found.get("valid users", ""))
    writers = re.findall(r'"([^"]+)"', found.get("write list", ""))
    hosts = [host for host in found.get("hosts allow", "").split() if host != "ALL"]
    return [{"type": "ip", "to": host, "level": "rw"} for host in hosts] + [
        {"type": "user", "to": user, "level": "rw" if user in writers else "ro"} for user in users
    ]


def parse(text: str) -> dict[str, Section]:
    """Parse the output of ``net conf list`` into ``{share name in lower case: section}``."""
    sections: dict[str, Section] = {}
    current: Section = {}
    for line in map(str.strip, text.splitlines()):
        if line.startswith("[") and line.endswith("]"):
            current = sections.setdefault(line[1:-1].lower(), {})
        elif "=" in line:
            key, value = line.split("=", 1)
            current[key.strip()] = value.strip()
    return sections


class Registry:
    """Samba's registry, read only if its file has changed, because ``net`` starts slowly."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._stamp: tuple[int, int] | None = None
        self._sections: dict[str, Section] = {}

    def sections(self, deadline: Deadline) -> dict[str, Section]:
        """All sections, by share name in lower case."""
        with self._lock:
            try:
                found = REGISTRY.stat()
                stamp = (found.st_mtime_ns, found.st_size)
            except OSError:
                stamp = None
            if stamp is None or stamp != self._stamp:
                _, words = run(["net", "conf", "list"], deadline)
                self._sections, self._stamp = parse(words), stamp
            return self._sections


REGISTRY_READER = Registry()


def export(
    share_id: str, name: str, path: str, rules: Rules, deadline: Deadline, *, listed: bool = True
) -> None:
    """Admit exactly the clients in ``rules``; end the sessions of clients that lost access."""
    wanted = section(path, rules, listed)
    before = REGISTRY_READER.sections(deadline).get(name.lower())
    # This file remains if an agent is interrupted before smbd does what the registry says.
    file = RUN / f"{share_id}.smb.conf"
    is_settled = before == wanted and not file.exists()
    if is_settled and running():
        return
    lines = "".join(f"\t{key} = {value}\n" for key, value in wanted.items())
    with locked("samba", deadline):
        write(file, f"[{name}]\n{lines}")
        if before != wanted:
            run(["net", "conf", "import", str(file), name], deadline)
    if not running():
        start(deadline)
    elif before is not None:
        tell_smbd(deadline, "smbd", "reload-config")
        shut_out(name, rules, deadline)
    remove(file)


def start(deadline: Deadline) -> None:
    """Start the SMB server, now and at each boot.

    It takes seconds at each boot, so it runs only if there are shares. ``systemctl enable`` would
    start Perl for Debian's old scripts, which takes an emulated instance longer than Samba itself.
    """
    link(WANTED_AT_BOOT, "/lib/systemd/system/smbd.service")
    run(["systemctl", "start", "smbd.service"], deadline)


def shut_out(name: str, rules: Rules, deadline: Deadline) -> None:
    """End the sessions of clients that lost access; other sessions are not interrupted."""
    tell_smbd(deadline, "smbd", "close-denied-share", name)  # checks only users, not hosts
    hosts = [ipaddress.ip_network(to) for kind, to in rules if kind == "ip"]
    if rules and not hosts:
        return
    _, words = run(["smbstatus", "--shares"], deadline, ok=ANY_STATUS)
    for process, client in re.findall(rf"(?m)^{re.escape(name)}\s+(\d+)\s+(\S+)\s", words):
        try:
            address = ipaddress.ip_address(client)
        except ValueError:
            address = None
        if address is None or not any(address in network for network in hosts):
            tell_smbd(deadline, process, "close-share", name)


def unexport(name: str, deadline: Deadline) -> None:
    """Remove a share, which may be absent, and end its sessions."""
    if name.lower() in REGISTRY_READER.sections(deadline):
        with locked("samba", deadline):
            run(["net", "conf", "delshare", name], deadline)
    if running():  # also if an agent was interrupted before this
        tell_smbd(deadline, "smbd", "reload-config")
        tell_smbd(deadline, "smbd", "close-share", name)


def tell_smbd(deadline: Deadline, process: str, *message: str) -> None:
    """Send a message to one smbd process, or (``smbd``) to all, of which there may be none."""
    run(["smbcontrol", process, *message], deadline, ok=ANY_STATUS)


def running() -> bool:
    """Whether the SMB server runs."""
    pid = read(SMBD_PID).strip()
    return pid.isdigit() and read(ROOT / "proc" / pid / "comm").strip() == "smbd"
