"""What clients of an instance of several projects can list: nothing, by NFS or SMB.

mountd's double is a process of this machine with its name, which listens as mountd does for
NFS 3.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread

import pytest

from atoll.errors import AtollError
from atoll.guest.channel import SshGuest
from tests.guest.conftest import Disks, InstanceDouble, rules, wanted

LISTEN = """
import socket, time
listener = socket.socket({family})
listener.bind(("", 0))
listener.listen()
print("ready", flush=True)
time.sleep(600)
"""
Mountd = subprocess.Popen[str]


@pytest.fixture(params=["AF_INET", "AF_INET6"])
def mountd(site: InstanceDouble, request: pytest.FixtureRequest) -> Iterator[Mountd]:
    program = site.root / "rpc.mountd"
    program.symlink_to(Path(sys.executable).resolve())
    code = LISTEN.format(family=f"socket.{request.param}")
    process = subprocess.Popen([program, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    (site.root / "proc").mkdir()
    (site.root / "proc" / str(process.pid)).symlink_to(f"/proc/{process.pid}")
    reaper = Thread(target=process.wait)  # as systemd does
    reaper.start()
    yield process
    process.kill()
    reaper.join()
    process.stdout.close()


def calls(site: InstanceDouble) -> list[str]:
    return [line for line in site.lines("calls.log") if "nfs-mountd" in line]


def test_mountd_listens_no_more_where_several_projects_are(
    guest: SshGuest, site: InstanceDouble, disks: Disks, mountd: Mountd
) -> None:
    (site.root / "mountd.pid").write_text(str(mountd.pid))
    share = wanted(site, disks.plug())
    guest.apply_share(share, fence=1)
    assert calls(site) == []
    guest.apply_share(replace(share, private=True), fence=1)
    assert "vers3=n" in (site.root / "etc/nfs.conf.d/atoll.conf").read_text().splitlines()
    assert calls(site) == [f"systemctl {verb} nfs-mountd.service" for verb in ("kill", "start")]
    assert mountd.wait(10) != 0


def test_a_mountd_that_does_not_listen_is_left_alone(
    guest: SshGuest, site: InstanceDouble, disks: Disks, mountd: Mountd
) -> None:
    share = wanted(site, disks.plug(), private=True)
    process = site.root / "proc" / str(mountd.pid)
    process.unlink()
    process.mkdir()
    (process / "comm").write_text("rpc.mountd\n")
    guest.apply_share(share, fence=1)
    assert calls(site) == []


def test_rules_count_even_where_mountd_goes_on_listening(
    guest: SshGuest, site: InstanceDouble, disks: Disks, mountd: Mountd
) -> None:
    share = wanted(site, disks.plug(), rules=rules("10.0.0.1", "10.0.0.2"))
    guest.apply_share(share, fence=1)
    with pytest.raises(AtollError):
        guest.apply_share(
            replace(share, rules=rules("10.0.0.1"), private=True), fence=1, deadline=2
        )
    assert "10.0.0.2" not in (site.root / "var/lib/nfs/etab").read_text()


def test_a_private_cifs_share_is_not_browsed(
    guest: SshGuest, site: InstanceDouble, disks: Disks
) -> None:
    share = wanted(site, disks.plug(), protocol="CIFS", rules=rules("10.0.0.0/8"))
    registry = site.root / "var/lib/samba/registry.tdb"
    guest.apply_share(share, fence=1)
    assert "browseable = yes" in registry.read_text()
    guest.apply_share(replace(share, private=True), fence=1)
    assert "browseable = no" in registry.read_text()
