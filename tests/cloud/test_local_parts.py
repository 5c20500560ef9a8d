"""The parts of the cloud ``local`` that need neither libvirt nor root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.cloud.local import acceleration as accel
from atoll.cloud.local import domain, firewall
from atoll.cloud.local.bridge import MOST_PORTS, Bridge, bridge_name
from atoll.cloud.local.connection import Connection, QemuUser
from atoll.cloud.local.daemon import Daemon
from atoll.cloud.local.domains import Domains
from atoll.cloud.local.layers import DEEPEST, Layers
from atoll.cloud.local.merge import Pair, mergeable
from atoll.cloud.local.records import Records, locked, write_file
from atoll.cloud.local.volumes import Capacity, LocalVolumes
from atoll.cloud.program import run
from atoll.errors import CloudError, CloudNotFound, CloudUnavailable
from tests.programs import needs

needs_qemu = needs(accel.EMULATOR)
needs_qemu_img = needs("qemu-img")
needs_nft = needs("nft")


@dataclass(frozen=True, slots=True)
class Thing:
    id: str
    owner: str
    size: int = 0


@pytest.fixture
def things(tmp_path: Path) -> Records[Thing]:
    return Records(tmp_path / "things", Thing)


def a_thing(owner: str = "share/1") -> Thing:
    return Thing(str(uuid4()), owner)


# --- records --------------------------------------------------------------------------------------


def test_a_record_is_found_by_its_owner_and_made_once(things: Records[Thing]) -> None:
    made = things.find_or_create(lambda t: t.owner == "share/1", a_thing)
    again = things.find_or_create(lambda t: t.owner == "share/1", a_thing)
    assert made == again == things.get(made.id)
    things.put(Thing(made.id, made.owner, 7))
    assert things.expect(made.id).size == 7
    things.delete(made.id)
    assert things.list() == []
    assert list(things.directory.iterdir()) == []


def test_what_a_killed_worker_half_made_is_nothing_and_goes(things: Records[Thing]) -> None:
    (things.directory / ".new").mkdir()
    (things.directory / ".new" / "record.json").write_text("{")
    assert things.list() == []
    made = things.find_or_create(lambda _: False, a_thing)
    assert [path.name for path in things.directory.iterdir()] == [made.id]


@pytest.mark.parametrize("name", ["", ".", "..", "../things", "x/../..", "0" * 36])
def test_an_id_never_leads_out_of_the_directory(things: Records[Thing], name: str) -> None:
    assert things.get(name) is None
    with pytest.raises(CloudNotFound):
        things.expect(name)


def test_a_lock_that_a_stopped_worker_holds_is_given_up_on(things: Records[Thing]) -> None:
    made = things.find_or_create(lambda _: False, a_thing)
    program = (
        "import sys, time; from pathlib import Path; from atoll.cloud.local.records import locked\n"
        "with locked(Path(sys.argv[1])): print('held', flush=True); time.sleep(60)"
    )
    argv = [sys.executable, "-c", program, str(things.path(made.id))]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(CloudUnavailable), locked(things.path(made.id), seconds=0.1):
            pass
        holder.kill()  # the kernel drops a dead one's lock
        with locked(things.path(made.id), seconds=10):
            pass


def test_who_waited_for_a_deleted_thing_is_told(things: Records[Thing]) -> None:
    made = things.find_or_create(lambda _: False, a_thing)
    told: list[bool] = []

    def wait() -> None:
        try:
            with things.locked(made.id):
                told.append(False)
        except CloudNotFound:
            told.append(True)

    with things.locked(made.id):
        waiting = threading.Thread(target=wait)
        waiting.start()
        time.sleep(0.05)
        things.delete(made.id)
    waiting.join()
    assert told == [True]


def test_a_written_file_is_the_old_or_the_new_one_and_private(tmp_path: Path) -> None:
    file = tmp_path / "file"
    write_file(file, b"old")
    write_file(file, b"new")
    assert file.read_bytes() == b"new"
    assert file.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [file]


# --- layers ---------------------------------------------------------------------------------------


@pytest.fixture
def layers(tmp_path: Path) -> Layers:
    return Layers(tmp_path / "layers", lambda: QemuUser(os.getuid(), os.getgid()))


def virtual_gib(layers: Layers, layer: str) -> int:
    told = json.loads(run(["qemu-img", "info", "--output=json", str(layers.path(layer))]))
    return int(told["virtual-size"]) >> 30


@needs_qemu_img
def test_layers_stand_on_each_other(layers: Layers) -> None:
    layers.create("a", 1)
    layers.create("b", 1, "a")
    layers.create("b", 5, "a")  # a second run of the same verb
    layers.create("c", 2, "b")
    assert layers.chain("c") == ["c", "b", "a"]
    assert [virtual_gib(layers, name) for name in "abc"] == [1, 1, 2]
    layers.resize("c", 3)
    assert virtual_gib(layers, "c") == 3
    assert layers.path("a").stat().st_mode & 0o777 == 0o600


def test_a_layer_can_t_stand_on_nothing(layers: Layers) -> None:
    with pytest.raises(CloudNotFound):
        layers.create("b", 1, "gone")
    assert not layers.exists("b")


@needs_qemu_img
def test_a_deletion_cut_short_is_found_and_finished(layers: Layers, tmp_path: Path) -> None:
    domains = Domains(Connection(Daemon(tmp_path, "", lambda: "tcg")), "test", tmp_path)
    volumes = LocalVolumes(tmp_path, layers, domains, Capacity(0, 1e9))
    volume = volumes.create_volume("share/1", 1)
    snapshot = volumes.create_snapshot("snapshot/1", volume.id)
    volumes.collect(leaving=volume.id)  # so far, and the worker dies
    assert volumes.find_volume("share/1") == volume
    volumes.delete_volume(volume.id)
    volumes.collect(leaving=snapshot.id)
    assert volumes.find_snapshot("snapshot/1") == snapshot
    volumes.delete_snapshot(snapshot.id)
    assert (volumes.list_volumes(), volumes.list_snapshots()) == ([], [])
    assert list(layers.directory.iterdir()) == []


@needs_qemu_img
def test_only_what_nobody_reaches_is_removed(layers: Layers) -> None:
    for name, base in (("a", ""), ("b", "a"), ("c", "b"), ("x", ""), ("y", "x")):
        layers.create(name, 1, base)
    assert sorted(layers.collect(lambda: ["c", "y"])) == []
    assert sorted(layers.collect(lambda: ["b"])) == ["c", "x", "y"]
    (layers.directory / ".draft-b").touch()  # what a killed worker leaves of its last layer
    (layers.directory / ".draft-a").touch()
    assert sorted(layers.collect(lambda: ["a"])) == ["b"]
    assert sorted(path.name for path in layers.directory.iterdir()) == [".draft-a", "a.qcow2"]
    assert sorted(layers.collect(list)) == ["a"]
    assert list(layers.directory.iterdir()) == []


@needs_qemu_img
def test_a_chain_has_an_end(layers: Layers) -> None:
    layers.create("0", 1)
    template = layers.path("0").read_bytes()
    for n in range(1, DEEPEST):
        # What qemu-img would write, without running it 150 times.
        name = f"{n - 1}.qcow2".encode()
        offset = 1024
        header = bytearray(template[:65536])
        header[8:16], header[16:20] = offset.to_bytes(8, "big"), len(name).to_bytes(4, "big")
        header[offset : offset + len(name)] = name
        layers.path(str(n)).write_bytes(bytes(header))
    assert len(layers.chain(str(DEEPEST - 1))) == DEEPEST
    with pytest.raises(CloudError, match="snapshots on top"):
        layers.create("last", 1, str(DEEPEST - 1))


# --- merging --------------------------------------------------------------------------------------


def children(chain: list[str], clones: list[str]) -> Counter[str]:
    return Counter([*chain[1:], *clones])


def test_the_lowest_layer_that_nobody_needs_is_merged() -> None:
    chain = ["head", "d", "c", "b", "a"]
    found = mergeable(chain, {"b", "c", "d"}, children(chain, []))
    assert found == Pair(child="c", upper="b", lower="a")


def test_the_head_is_never_merged() -> None:
    chain = ["head", "a"]
    assert mergeable(chain, set(), children(chain, [])) is None


def test_what_a_clone_stands_on_is_left_alone() -> None:
    chain = ["head", "b", "a"]
    assert mergeable(chain, set(), children(chain, ["a"])) is None
    assert mergeable(chain, set(), children(chain, ["b"])) is None
    assert mergeable(chain, set(), children(chain, [])) == Pair("head", "b", "a")


@given(
    length=st.integers(1, 12),
    kept=st.sets(st.integers(0, 11)),
    cloned=st.lists(st.integers(0, 11), max_size=3),
)
def test_merging_ends_with_a_short_chain_and_every_snapshot(
    length: int, kept: set[int], cloned: list[int]
) -> None:
    chain = [f"l{n}" for n in range(length)]
    snapshots = {n: f"l{n}" for n in kept if 0 < n < length}
    clones = [f"l{n}" for n in cloned if 0 < n < length]
    while pair := mergeable(chain, set(snapshots.values()), children(chain, clones)):
        assert pair.lower not in snapshots.values()
        assert pair.upper not in clones
        assert pair.lower not in clones
        chain.remove(pair.upper)
        snapshots = {n: pair.lower if at == pair.upper else at for n, at in snapshots.items()}
    assert set(snapshots.values()) <= set(chain)
    assert len(chain) <= len(snapshots) + 2 + 2 * len(set(clones))


# --- what libvirt and nft are told ----------------------------------------------------------------


def a_machine(**changes: object) -> domain.Machine:
    nic = domain.Nic("52:54:00:00:00:01", "br0", isolated=True)
    values = {
        "id": str(uuid4()),
        "name": "atoll-1",
        "deployment": "here",
        "owner": "share_server/<&\"'>",
        "vcpus": 1,
        "memory_mib": 512,
        "acceleration": "tcg",
        "root": Path("/r"),
        "seed": Path("/s"),
        "console": Path("/c"),
        "nics": (nic,),
    }
    return domain.Machine(**(values | changes))  # type: ignore[arg-type]


def test_a_domain_tells_whose_it_is() -> None:
    machine = a_machine()
    text = domain.machine_xml(machine)
    assert domain.read_tag(text) == ("here", machine.owner)
    assert domain.read_macs(text) == {"52:54:00:00:00:01"}
    assert domain.read_tag("<domain/>") is None


def test_a_domain_has_a_watchdog_that_resets_it() -> None:
    [watchdog] = domain.parsed(domain.machine_xml(a_machine())).iterfind("./devices/watchdog")
    assert watchdog.attrib == {"model": "i6300esb", "action": "reset"}


@given(st.lists(st.integers(1, 700), unique=True, max_size=40))
def test_disks_are_read_back_as_they_were_written(units: list[int]) -> None:
    disks = tuple(domain.Disk(str(uuid4()), Path(f"/l/{n}"), n, n % 2 == 0) for n in units)
    text = domain.machine_xml(a_machine(disks=disks))
    assert domain.read_disks(text) == {disk.volume_id: disk for disk in disks}
    targets = [disk.target for disk in disks]
    assert len(set(targets)) == len(targets)


def test_disk_names_go_on_after_z() -> None:
    names = [domain.Disk("", Path(), n, direct=True).target for n in (0, 25, 26, 701, 702)]
    assert names == ["sda", "sdz", "sdaa", "sdzz", "sdaaa"]


def test_a_stopped_domain_s_disks_may_move() -> None:
    disks = (domain.Disk("v1", Path("/old"), 1, True), domain.Disk("v2", Path("/two"), 2, True))
    moved = domain.with_disk_paths(
        domain.machine_xml(a_machine(disks=disks)), {"v1": Path("/new"), "v3": Path("/none")}
    )
    assert {k: d.path for k, d in domain.read_disks(moved).items()} == {
        "v1": Path("/new"),
        "v2": Path("/two"),
    }


@pytest.mark.parametrize("cidr", ["10.0.0.0/29", "10.0.0.0/24", "10.0.0.0/16"])
def test_addresses_and_macs_of_a_network(cidr: str) -> None:
    network_id = str(uuid4())
    bridge = Bridge(network_id, IPv4Network(cidr), bridge_name("here", network_id))
    leases = list(bridge.leases())
    assert 0 < len(leases) <= MOST_PORTS
    assert len({lease.mac for lease in leases}) == len({lease.address for lease in leases})
    assert bridge.host_address not in {lease.address for lease in leases}
    assert not set(bridge.dynamic_range) & {lease.address for lease in leases}
    assert len(bridge.name) <= 15
    assert bridge.name != bridge_name("there", network_id)


@pytest.mark.root  # nft reads the kernel's rules
@needs_nft
@pytest.mark.parametrize("bridges", [([], []), (["at-1", "at-2"], ["at-s"]), ([], ["at-s"])])
def test_nft_takes_the_rules(bridges: tuple[list[str], list[str]]) -> None:
    run(["nft", "--check", "-f", "-"], stdin=firewall.rules("a-b.c", *bridges))


# --- acceleration ---------------------------------------------------------------------------------


@needs_qemu
def test_the_probe_s_guest_runs_to_its_end() -> None:
    assert accel.probe("tcg", "max")


def test_a_device_that_is_no_kvm_is_not_taken_for_one(tmp_path: Path) -> None:
    assert not accel.kvm_works(tmp_path / "absent")
    assert not accel.probe("no-such-accelerator", "max")


@pytest.mark.slow  # where KVM hangs, that takes a while to see
def test_the_answer_is_remembered_for_this_boot(tmp_path: Path) -> None:
    memory = tmp_path / "acceleration.json"
    first = accel.acceleration(memory)
    told = json.loads(memory.read_text())
    other = "kvm" if first == "tcg" else "tcg"
    memory.write_text(json.dumps(told | {"acceleration": other}))
    assert accel.acceleration(memory) == other
    memory.write_text(json.dumps(told | {"acceleration": other, "key": "another boot"}))
    assert accel.acceleration(memory) == first
    memory.write_text("{")
    assert accel.acceleration(memory) == first
