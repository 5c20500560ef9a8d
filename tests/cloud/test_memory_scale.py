"""The simulated cloud at the size of a site: 1,000 shares on 50 networks."""

from __future__ import annotations

import gc
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

from atoll.cloud.base import Access, Identity, InstanceSpec
from atoll.cloud.memory import MemoryCloud
from atoll.guest.base import Guest

from .site import nfs

NETWORKS, SHARES = 50, 1_000


@contextmanager
def cpu_seconds(limit: float) -> Iterator[None]:
    """Fail if what is inside takes more of this thread's CPU time.

    A garbage collection is not counted: it takes longer the more tests this process has run.
    """
    gc.collect()
    gc.disable()
    start = time.thread_time()
    try:
        yield
    finally:
        used = time.thread_time() - start
        gc.enable()
    assert used < limit


def make_server(cloud: MemoryCloud, number: int) -> tuple[str, Guest]:
    owner = f"share_server/{number}"
    network = cloud.networks.create_network(f"share_network/{number}")
    service = cloud.networks.create_port(owner, cloud.networks.service_network().id)
    port = cloud.networks.create_port(owner, network.id)
    identity = Identity("atoll", "", "", "key", owner)
    spec = InstanceSpec(owner, owner, "image", (service.id, port.id), identity)
    instance = cloud.compute.create_instance(spec)
    access = Access("atoll", service.addresses[0], "", "key")
    return instance.id, cloud.open_guest(instance.id, access, 10)


def test_a_site_is_made_and_looked_through_in_no_time(tmp_path: Path) -> None:
    cloud = MemoryCloud("test", path=tmp_path / "world.sqlite")
    with cpu_seconds(1e-3 * 7 * NETWORKS):
        servers = [make_server(cloud, number) for number in range(NETWORKS)]
    with cpu_seconds(1e-3 * 3 * SHARES):
        for number in range(SHARES):
            instance_id, guest = servers[number % NETWORKS]
            volume = cloud.volumes.create_volume(f"share/{number}", 1)
            cloud.compute.attach_volume(instance_id, volume.id)
            guest.apply_share(nfs(str(uuid4()), volume, "10.0.0.0/24"), fence=1)
    with cpu_seconds(0.2):  # what a reconcile pass asks
        assert len(cloud.volumes.list_volumes()) == SHARES
        assert len(cloud.volumes.list_snapshots()) == 0
        assert sum(len(i.volume_ids) for i in cloud.compute.list_instances()) == SHARES
        assert len(cloud.networks.list_networks()) == NETWORKS + 1
        assert len(cloud.networks.list_ports()) == 2 * NETWORKS
        health = [guest.health() for _, guest in servers]
        usage = [guest.usage() for _, guest in servers]
    assert sum(share.exported for h in health for share in h.shares) == SHARES
    assert sum(len(u) for u in usage) == SHARES
    cloud.close()
