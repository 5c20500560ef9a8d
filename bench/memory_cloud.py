"""Measures calls of the simulated cloud, and the size of a simulated site.

    uv run python bench/memory_cloud.py            1,000 shares on 50 networks
    uv run python bench/memory_cloud.py 10000      10,000 shares on 500 networks

Each call is recorded in the journal and written to the file, as in tests with several processes.
"""

from __future__ import annotations

import resource
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

from atoll.cloud.base import Access, Identity, InstanceSpec
from atoll.cloud.memory import MemoryCloud, MemoryGuest
from atoll.guest.base import ExportRule, Freeze, WantedShare

T = TypeVar("T")
R = TypeVar("R")
SHARES_PER_SERVER = 20


def timed(name: str, things: Sequence[T], call: Callable[[T], R]) -> list[R]:
    """Call ``call`` for each thing, and print CPU time and wall time per call."""
    cpu, clock = time.process_time(), time.perf_counter()
    results = [call(thing) for thing in things]
    cpu, clock = time.process_time() - cpu, time.perf_counter() - clock
    count = len(things)
    print(f"{name:24} {count:6} x {cpu / count * 1e6:9.1f} µs CPU {clock / count * 1e6:9.1f} µs")
    return results


class SharesOnMemory:
    """Shares on service instances, with one instance per network."""

    def __init__(self, path: Path, shares: int) -> None:
        self.cloud = cloud = MemoryCloud("bench", path=path)
        self.shares = range(shares)
        self.servers = range(max(1, shares // SHARES_PER_SERVER))
        service = cloud.networks.service_network()
        nets = timed(
            "create_network", self.servers, lambda i: cloud.networks.create_network(f"n/{i}")
        )
        owners = [f"share_server/{i}" for i in self.servers]
        self.service_ports = timed(
            "create_port", owners, lambda owner: cloud.networks.create_port(owner, service.id)
        )
        self.ports = [
            cloud.networks.create_port(owner, net.id)
            for owner, net in zip(owners, nets, strict=True)
        ]
        self.instances = timed(
            "create_instance", self.servers, lambda i: cloud.compute.create_instance(self.spec(i))
        )
        self.guests = timed("open_guest", self.servers, self.open_guest)
        self.volumes = timed(
            "create_volume", self.shares, lambda i: cloud.volumes.create_volume(f"share/{i}", 1)
        )
        self.wanted = [
            WantedShare(
                share_id=str(uuid4()),
                serial=volume.id,
                file_system="ext4",
                may_format=True,
                path=f"/shares/{i}",
                protocol="NFS",
                fsid=str(uuid4()),
                rules=(ExportRule("ip", "10.0.0.0/8", "rw"),),
            )
            for i, volume in enumerate(self.volumes)
        ]

    def spec(self, i: int) -> InstanceSpec:
        owner, ports = f"share_server/{i}", (self.service_ports[i].id, self.ports[i].id)
        return InstanceSpec(owner, owner, "image", ports, Identity("atoll", "", "", "key", owner))

    def open_guest(self, i: int) -> MemoryGuest:
        access = Access("atoll", self.service_ports[i].addresses[0], "", "key")
        return self.cloud.open_guest(self.instances[i].id, access, 10)

    def guest(self, i: int) -> MemoryGuest:
        return self.guests[i % len(self.guests)]

    def instance(self, i: int) -> str:
        return self.instances[i % len(self.instances)].id

    def work(self) -> None:
        cloud, shares, wanted, volumes = self.cloud, self.shares, self.wanted, self.volumes
        attach = cloud.compute.attach_volume
        timed("attach_volume", shares, lambda i: attach(self.instance(i), volumes[i].id))
        timed("apply_share", shares, lambda i: self.guest(i).apply_share(wanted[i], fence=1))
        timed("apply_share again", shares, lambda i: self.guest(i).apply_share(wanted[i], fence=1))
        freeze = Freeze("bench")
        timed(
            "freeze_share",
            shares,
            lambda i: self.guest(i).freeze_share(wanted[i].share_id, "", freeze, seconds=60),
        )
        timed(
            "create_snapshot",
            shares,
            lambda i: cloud.volumes.create_snapshot(f"s/{i}", volumes[i].id),
        )
        timed(
            "thaw_share",
            shares,
            lambda i: self.guest(i).thaw_share(wanted[i].share_id, "", freeze),
        )
        timed("get_volume", shares, lambda i: cloud.volumes.get_volume(volumes[i].id))
        location = f"{self.ports[0].addresses[0]}:{wanted[0].path}"
        mount = cloud.client("10.0.0.1").mount(location)
        timed("a client's write", range(100), lambda i: mount.write(f"file {i}", b"data"))

    def look(self) -> None:
        """The calls that a reconcile pass makes to the cloud and its guests."""
        cloud, cpu = self.cloud, time.process_time()
        timed("list_volumes", [0], lambda _: cloud.volumes.list_volumes())
        timed("list_snapshots", [0], lambda _: cloud.volumes.list_snapshots())
        timed("list_instances", [0], lambda _: cloud.compute.list_instances())
        timed("list_ports", [0], lambda _: cloud.networks.list_ports())
        timed("health", self.servers, lambda i: self.guests[i].health())
        timed("usage", self.servers, lambda i: self.guests[i].usage())
        print(f"the calls of a reconcile pass: {(time.process_time() - cpu) * 1e3:.1f} ms CPU")


def main() -> None:
    shares = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000
    with tempfile.TemporaryDirectory() as directory:
        site = SharesOnMemory(Path(directory) / "world.sqlite", shares)
        site.work()
        site.look()
        size = sum(path.stat().st_size for path in Path(directory).iterdir()) / 1e6
        memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        calls = site.cloud.journal.mark()
        print(f"{calls} calls; the cloud's file {size:.1f} MB, this process {memory:.0f} MiB")
        site.cloud.close()


if __name__ == "__main__":
    main()
