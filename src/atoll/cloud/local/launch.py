"""Starts libvirt's daemons with all their state under one directory; run by ``daemon.py``.

libvirtd as root keeps its state in fixed places. Here it runs in a mount namespace of its own,
where Atoll's directory is mounted over each of them, so that it leaves nothing elsewhere and
disturbs no other libvirtd. Usage, in such a namespace:
``python -m atoll.cloud.local.launch DIRECTORY DAEMON kvm|tcg``.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

PLACES = {
    "etc": Path("/etc/libvirt"),
    "lib": Path("/var/lib/libvirt"),
    "cache": Path("/var/cache/libvirt"),
    "log": Path("/var/log/libvirt"),
    "run": Path("/run/libvirt"),
}

KVM = Path("/dev/kvm")


def main(directory: Path, daemon: str, acceleration: str) -> None:
    """Mount the directories, then become the daemon."""
    from atoll.cloud.program import run

    for name, place in PLACES.items():
        place.mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", str(directory / name), str(place)])
    if acceleration != "kvm" and KVM.exists():
        # Before every call, libvirtd would spend seconds on a device that can't be used.
        hidden = directory / "no-kvm"
        hidden.touch(mode=0o000)
        run(["mount", "--bind", str(hidden), str(KVM)])
    config = directory / "etc" / f"{daemon}.conf"
    pid_file = directory / f"{daemon}.pid"
    argv = [daemon, "--daemon", "--config", str(config), "--pid-file", str(pid_file)]
    os.execvp(daemon, argv)  # noqa: S606


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
