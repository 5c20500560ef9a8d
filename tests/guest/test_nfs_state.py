"""The NFS server's state on a volume, in a service instance that is left without a server."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import uuid4

import pytest

from atoll.errors import DeviceNotBlank
from atoll.guest.base import WantedState
from atoll.guest.ssh import await_banner
from harness.service_vm import BOOT_SECONDS, ServiceVm, service_image
from tests.guest.test_instance import HOME, new_share, nfs, plug

STARTS = "od -An -tu4 /var/lib/nfs-state/statd/state"
"""statd's number, which grows whenever it starts on the same state."""

pytestmark = [pytest.mark.vm, pytest.mark.long, pytest.mark.timeout(900)]


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceVm]:
    """A service instance of its own, whose NFS server has never run."""
    machine = ServiceVm(tmp_path_factory.mktemp("state"), service_image())
    machine.start()
    yield machine
    machine.kill()


def test_the_nfs_server_keeps_its_state_on_a_volume(machine: ServiceVm) -> None:
    """The server needs the volume at each boot, because the list of clients is on it."""
    guest, serial = machine.open(), plug(machine)
    wanted = WantedState(serial, serial, may_format=True)
    guest.keep_state(wanted)
    assert not guest.health().nfs_running
    guest.start_nfs()
    guest.keep_state(replace(wanted, may_format=False))
    assert guest.health().nfs_running
    share = new_share(plug(machine))
    guest.apply_share(share, fence=1)
    words = machine.shell(
        nfs(share, "/mnt/v4")
        + nfs(share, "/mnt/v3", version="3").replace(",nolock", "")
        + "sleep 60 > /mnt/v4/open & flock /mnt/v3/locked sleep 60 & sleep 5\n"
        "ls /var/lib/nfs-state/statd/sm | grep . > /dev/null && " + STARTS
    )
    starts = int(words)
    machine.kill()
    machine.start()
    await_banner(HOME, machine.port, BOOT_SECONDS)
    words = machine.shell(
        "for i in $(seq 90); do systemctl -q is-active nfs-server && break; sleep 1; done\n"
        "findmnt -n -o TARGET /var/lib/nfs-state; cd /var/lib/nfs-state/nfsdcld; ls *.sqlite\n"
        f"for i in $(seq 60); do test $({STARTS}) -gt {starts} && break; sleep 1; done; {STARTS}"
    )
    *found, starts_since = words.split()
    assert found == ["/var/lib/nfs-state", "main.sqlite"]
    # The hosts themselves are gone from the lists once they have been notified.
    assert int(starts_since) > starts
    machine.kill()
    machine.unplug(serial)
    machine.start()
    guest = machine.open()
    assert not guest.health().nfs_running  # it would grant locks that others hold
    other = WantedState(share.serial, str(uuid4()), may_format=True)
    with pytest.raises(DeviceNotBlank):
        guest.keep_state(other)
    guest.close()
