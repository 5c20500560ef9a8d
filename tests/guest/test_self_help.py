"""What an instance does by itself when its servers die or its kernel crashes or hangs.

Nobody calls the agent meanwhile. A guest that is emulated on a busy machine is slow, so waits are
long; on an idle machine everything is back after a few seconds.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from atoll.guest.base import WantedShare
from harness.service_vm import ServiceVm
from harness.wait import wait
from tests.guest.test_instance import new_share, nfs, plug

pytestmark = [pytest.mark.vm, pytest.mark.timeout(900)]

SERVERS = {
    "rpcbind": "rpcbind",  # first, so that the others register with the new one
    "rpc.mountd": "nfs-mountd",
    "rpc.statd": "rpc-statd",
    "nfsdcld": "nfsdcld",
    "rpc.idmapd": "nfs-idmapd",
    "smbd": "smbd",
    "sshd": "ssh",
}
"""Programs, and the units that run them."""
KILL = """
main() {{ systemctl show --property=MainPID --value {unit}; }}
before=$(main)
test "$before" != 0 && kill -9 $before
for try in $(seq 300); do
    systemctl --quiet is-active {unit} && test "$(main)" != $before && test "$(main)" != 0 && break
    sleep 0.3
done
test "$(main)" != $before && test "$(cat /proc/$(main)/comm)" = {program}
"""
STARTED = "systemctl show --property=ActiveEnterTimestampMonotonic --value nfs-server"


@pytest.fixture(scope="module")
def share(machine: ServiceVm) -> Iterator[WantedShare]:
    """A share that is served, with a file; Atoll's channel to the instance is closed."""
    share = new_share(plug(machine))
    guest = machine.open()
    guest.apply_share(share, fence=1)
    guest.close()
    machine.shell(nfs(share, "/mnt/kept") + "echo kept > /mnt/kept/file; sync -f /mnt/kept")
    yield share
    guest = machine.open()
    guest.remove_share(share.share_id, share.path, fence=2)
    guest.close()


def boot_id(machine: ServiceVm) -> str:
    return machine.shell("cat /proc/sys/kernel/random/boot_id").strip()


def serves(machine: ServiceVm, share: WantedShare) -> None:
    """Check that a client of each version mounts the share and reads the file."""
    machine.shell(
        "for try in $(seq 200); do systemctl -q is-active nfs-server && break; sleep 0.3; done\n"
        + "".join(
            nfs(share, f"/mnt/new{version}", version=version)
            + f"test $(cat /mnt/new{version}/file) = kept && umount /mnt/new{version} || exit 1\n"
            for version in ("4.2", "3")
        ),
        deadline=240,
    )


def test_servers_that_are_killed_come_back(machine: ServiceVm, share: WantedShare) -> None:
    machine.shell("systemctl start smbd; echo test > /var/lib/nfs/sm/192.0.2.7", deadline=240)
    look = "rpcinfo | awk '{ print $1, $2, $3, $4 }' | sort; cat /var/lib/nfs/etab"
    before, started = machine.shell(look), machine.shell(STARTED)
    for program, unit in SERVERS.items():
        machine.shell(KILL.format(program=program, unit=unit), deadline=300)
    wait("all registrations", lambda: machine.shell(look) == before, 120)
    assert machine.shell(STARTED) == started  # no client had to wait for a grace period
    assert machine.shell("ls /var/lib/nfs/sm; rm /var/lib/nfs/sm/192.0.2.7") == "192.0.2.7\n"
    assert machine.shell("cat /mnt/kept/file") == "kept\n"
    serves(machine, share)
    assert machine.shell("systemctl stop smbd; systemctl --failed --plain --no-legend") == ""


def test_the_threads_of_nfsd_come_back(machine: ServiceVm, share: WantedShare) -> None:
    machine.shell(
        "echo 0 > /proc/fs/nfsd/threads\n"
        "for try in $(seq 300); do read n < /proc/fs/nfsd/threads\n"
        "test $n != 0 && break; sleep 0.3; done",
        deadline=240,
    )
    assert machine.shell("cat /mnt/kept/file", deadline=240) == "kept\n"
    serves(machine, share)


def test_a_server_that_was_stopped_stays_stopped(machine: ServiceVm, share: WantedShare) -> None:
    machine.shell("systemctl stop nfs-server", deadline=240)
    assert machine.shell("sleep 12; cat /proc/fs/nfsd/threads") == "0\n"
    machine.shell("systemctl start nfs-server; cat /mnt/kept/file; umount /mnt/kept", deadline=240)
    serves(machine, share)


@pytest.mark.long
def test_a_busy_kernel_is_not_reset(machine: ServiceVm, share: WantedShare) -> None:
    before = boot_id(machine)
    machine.shell(
        "for try in $(seq 200); do systemctl -q is-active atoll-watchdog && break; sleep 0.3; done"
        "\nfor one in 1 2 3 4 5 6 7 8; do nohup sh -c 'while :; do :; done' >/dev/null 2>&1 & done",
        deadline=240,
    )
    time.sleep(70)  # longer than the watchdog's time
    machine.shell("pkill -f '^sh -c while'", deadline=240)
    assert boot_id(machine) == before
