"""A host port on a real Open vSwitch (in user space, so that no kernel module is needed).

Skipped where it isn't installed: its programs may also be unpacked somewhere, with ``PATH`` naming
the places.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.cloud.openstack.api import Json
from atoll.cloud.openstack.host_devices import InternalPort, exists, is_on_link, set_addresses
from atoll.cloud.program import run
from atoll.errors import CloudError
from tests.programs import need, path_of

pytestmark = pytest.mark.root
PROGRAMS = ("ovsdb-tool", "ovsdb-server", "ovs-vswitchd", "ovs-vsctl")
SCHEMA = "openvswitch/vswitch.ovsschema"
BRIDGE = "br-atoll-test"
PORT: Json = {"id": "0123456789abcdef", "mac_address": "fa:00:00:00:00:01"}


def schema() -> Path | None:
    """The database's, beside the programs: ``…/sbin/ovsdb-server``, ``…/share/openvswitch/…``."""
    server = path_of("ovsdb-server")
    places = [parent / "share" / SCHEMA for parent in Path(server).parents] if server else []
    return next((place for place in places if place.exists()), None)


@pytest.fixture
def bridge(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An integration bridge; the switch ends with the test."""
    need(*PROGRAMS)
    if schema() is None:
        pytest.skip("Open vSwitch has no schema where it is looked for")
    for variable in ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR"):
        monkeypatch.setenv(variable, str(tmp_path))
    database = str(tmp_path / "conf.db")
    run(["ovsdb-tool", "create", database, str(schema())])
    socket = f"punix:{tmp_path}/db.sock"
    daemons = [
        subprocess.Popen(["ovsdb-server", database, f"--remote={socket}"]),
        subprocess.Popen(["ovs-vswitchd", f"unix:{tmp_path}/db.sock"]),
    ]
    try:
        run(["ovs-vsctl", "--retry", "--no-wait", "init"])
        user_space = ["--", "set", "Bridge", BRIDGE, "datapath_type=netdev"]
        run(["ovs-vsctl", "add-br", BRIDGE, *user_space])
        yield BRIDGE
        run(["ovs-vsctl", "del-br", BRIDGE])
    finally:
        for daemon in reversed(daemons):
            daemon.terminate()
            daemon.wait(20)


def test_a_port_of_the_bridge_is_plugged_in_as_often_as_one_likes(bridge: str) -> None:
    switch = InternalPort(bridge)
    device = switch.plug(PORT, 1450)
    assert switch.plug(PORT, 1450) == device == "tap0123456789a"
    ids = run(["ovs-vsctl", "get", "Interface", device, "external_ids"])
    assert 'iface-id="0123456789abcdef"' in ids
    assert 'attached-mac="fa:00:00:00:00:01"' in ids
    shown = run(["ip", "link", "show", "dev", device])
    assert "fa:00:00:00:00:01" in shown
    assert "mtu 1450" in shown
    set_addresses(device, {"10.239.5.1/28"})
    assert is_on_link("10.239.5.2", device)

    switch.remove_others(PORT)
    assert exists(device)
    switch.remove_others(PORT | {"id": "fedcba9876543210"})  # the port was made anew
    assert not exists(device)
    switch.unplug(PORT["id"])
    assert run(["ovs-vsctl", "list-ports", bridge]) == ""


def test_a_bridge_that_is_not_there_is_named(bridge: str) -> None:
    with pytest.raises(CloudError, match="br-elsewhere"):
        InternalPort("br-elsewhere").plug(PORT, 1450)
