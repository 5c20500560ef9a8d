"""The simulated cloud against a model of it: whatever is done, content and places agree."""

from __future__ import annotations

from dataclasses import dataclass, field
from uuid import NAMESPACE_URL, uuid4, uuid5

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from atoll.cloud.base import Identity, InstanceSpec, Volume
from atoll.cloud.memory import MemoryCloud
from atoll.errors import CloudUnavailable, GuestError, GuestUnreachable, VolumeInUse
from atoll.guest.base import Access, Freeze, Guest

from .site import nfs

SHARES = ("a", "b", "c")
SNAPSHOTS = ("s", "t")
SERVERS = ("i", "j")
CLIENT = "10.0.0.1"

shares = st.sampled_from(SHARES)
snapshots = st.sampled_from(SNAPSHOTS)
servers = st.sampled_from(SERVERS)
lost = st.booleans()


@dataclass
class ModelVolume:
    id: str
    size: int
    fsid: str | None = None
    """Of its file system; None is blank."""
    fs_size: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    cached: dict[str, bytes] = field(default_factory=dict)
    server: str | None = None


@dataclass
class ModelServer:
    id: str
    up: bool = True
    served: dict[str, str] = field(default_factory=dict)
    """Share to volume id."""
    mounted: set[str] = field(default_factory=set)


class CloudMachine(RuleBasedStateMachine):
    """Shares named ``a``, ``b`` and ``c``, each with its volume, on two instances."""

    def __init__(self) -> None:
        super().__init__()
        self.cloud = MemoryCloud("model", silence=0)
        network = self.cloud.networks.create_network("share_network/1")
        self.ports = {
            server: self.cloud.networks.create_port(f"share_server/{server}", network.id)
            for server in SERVERS
        }
        self.volumes: dict[str, ModelVolume] = {}
        self.snapshots: dict[str, ModelVolume] = {}
        self.servers: dict[str, ModelServer] = {}
        self.fence = 0
        for server in SERVERS:
            self.create_instance(server, lost=False)
        for share, server in zip(SHARES, "iij", strict=True):
            self.create_volume(share, 1, lost=False)
            self.attach(share, server)
            self.apply(share, server, stale=False)

    def teardown(self) -> None:
        self.cloud.close()

    def guest(self, server: str) -> Guest:
        access = Access("atoll", self.ports[server].addresses[0], "", "key")
        return self.cloud.open_guest(self.servers[server].id, access, 1)

    # --- volumes and snapshots ----------------------------------------------------------------

    @rule(share=shares, size=st.integers(1, 4), lost=lost)
    def create_volume(self, share: str, size: int, lost: bool) -> None:
        if lost:
            self.cloud.faults.lose("create_volume")
            with pytest.raises(CloudUnavailable):
                self.cloud.volumes.create_volume(share, size)
        made = self.cloud.volumes.create_volume(share, size)
        self.volumes.setdefault(share, ModelVolume(made.id, size))
        assert made.id == self.volumes[share].id

    @rule(share=shares, snapshot=snapshots, size=st.integers(1, 4))
    def clone(self, share: str, snapshot: str, size: int) -> None:
        if snapshot not in self.snapshots or share in self.volumes:
            return
        parent = self.snapshots[snapshot]
        made = self.cloud.volumes.create_volume(share, size, snapshot_id=parent.id)
        self.volumes[share] = ModelVolume(
            made.id, max(size, parent.size), parent.fsid, parent.fs_size, dict(parent.files)
        )

    @rule(share=shares, size=st.integers(1, 6))
    def extend(self, share: str, size: int) -> None:
        if volume := self.volumes.get(share):
            self.cloud.volumes.extend_volume(volume.id, size)
            volume.size = max(volume.size, size)

    @rule(share=shares)
    def delete_volume(self, share: str) -> None:
        volume = self.volumes.get(share)
        if volume and volume.server:
            with pytest.raises(VolumeInUse):
                self.cloud.volumes.delete_volume(volume.id)
        elif volume:
            self.cloud.volumes.delete_volume(volume.id)
            del self.volumes[share]

    @rule(share=shares, snapshot=snapshots, freeze=st.booleans())
    def create_snapshot(self, share: str, snapshot: str, freeze: bool) -> None:
        volume = self.volumes.get(share)
        if volume is None or snapshot in self.snapshots:
            return
        serving = freeze and self.reaches(share)
        if serving:
            guest = self.guest(volume.server or "")
            held = Freeze(snapshot)
            guest.freeze_share(share, "", held, seconds=60)
            self.flush(volume)
        made = self.cloud.volumes.create_snapshot(snapshot, volume.id)
        if serving:
            guest.thaw_share(share, "", held)
        self.snapshots[snapshot] = ModelVolume(
            made.id, volume.size, volume.fsid, volume.fs_size, dict(volume.files)
        )

    @rule(snapshot=snapshots)
    def delete_snapshot(self, snapshot: str) -> None:
        if found := self.snapshots.pop(snapshot, None):
            self.cloud.volumes.delete_snapshot(found.id)

    # --- instances ----------------------------------------------------------------------------

    @rule(server=servers, lost=lost)
    def create_instance(self, server: str, lost: bool) -> None:
        identity = Identity("atoll", "", "", "key", server)
        spec = InstanceSpec(
            f"share_server/{server}", server, "image", (self.ports[server].id,), identity
        )
        if lost:
            self.cloud.faults.lose("create_instance")
            with pytest.raises(CloudUnavailable):
                self.cloud.compute.create_instance(spec)
        made = self.cloud.compute.create_instance(spec)
        self.servers.setdefault(server, ModelServer(made.id))
        assert made.id == self.servers[server].id

    @precondition(lambda self: self.servers)
    @rule(share=shares, server=servers)
    def serve(self, share: str, server: str) -> None:
        """What a driver would do after anything: bring the share back."""
        self.create_instance(server, lost=False)
        if not self.servers[server].up:
            self.reboot(server)
        self.create_volume(share, 1, lost=False)
        if holder := self.volumes[share].server:
            self.detach(share, holder)
        self.attach(share, server)
        self.apply(share, server, stale=False)

    @precondition(lambda self: self.servers)
    @rule(server=servers, kill=st.booleans())
    def stop(self, server: str, kill: bool) -> None:
        """By a power cut, or by deletion."""
        if server not in self.servers:
            return
        model = self.servers[server]
        for volume in self.attached_to(server):
            volume.cached.clear()
        if kill:
            self.cloud.kill_instance(model.id)
            model.up, model.mounted = False, set()
        else:
            self.cloud.compute.delete_instance(model.id)
            for volume in self.attached_to(server):
                volume.server = None
            del self.servers[server]

    @precondition(lambda self: self.servers)
    @rule(server=servers)
    def reboot(self, server: str) -> None:
        if model := self.servers.get(server):
            self.cloud.compute.reboot_instance(model.id)
            for volume in self.attached_to(server):
                volume.cached.clear()
            attached = {volume.id for volume in self.attached_to(server)}
            model.up = True
            model.mounted = {name for name, id_ in model.served.items() if id_ in attached}

    @precondition(lambda self: self.servers)
    @rule(share=shares, server=servers)
    def attach(self, share: str, server: str) -> None:
        volume, model = self.volumes.get(share), self.servers.get(server)
        if not volume or not model:
            return
        if volume.server in (None, server):
            self.cloud.compute.attach_volume(model.id, volume.id)
            volume.server = server
        else:
            with pytest.raises(VolumeInUse):
                self.cloud.compute.attach_volume(model.id, volume.id)

    @precondition(lambda self: self.servers)
    @rule(share=shares, server=servers)
    def detach(self, share: str, server: str) -> None:
        volume, model = self.volumes.get(share), self.servers.get(server)
        if not volume or not model:
            return
        self.cloud.compute.detach_volume(model.id, volume.id)
        if volume.server == server:
            volume.server = None
            volume.cached.clear()
            model.mounted.discard(share)

    # --- guests and clients -------------------------------------------------------------------

    @precondition(lambda self: self.servers)
    @rule(share=shares, server=servers, stale=st.booleans())
    def apply(self, share: str, server: str, stale: bool) -> None:
        volume, model = self.volumes.get(share), self.servers.get(server)
        if not volume or not model:
            return
        self.fence += 0 if stale else 1
        fsid = str(uuid5(NAMESPACE_URL, volume.id))
        wanted = nfs(
            share, Volume(volume.id, share, volume.size), CLIENT,
            fsid=fsid, may_format=volume.fsid is None,
        )  # fmt: skip
        if not model.up:
            with pytest.raises(GuestUnreachable):
                self.guest(server)
            return
        guest = self.guest(server)
        if volume.server != server:
            with pytest.raises(GuestError):
                guest.apply_share(wanted, fence=self.fence)
            return
        guest.start_nfs(with_state=False)
        applied = guest.apply_share(wanted, fence=self.fence)
        assert applied.formatted == (volume.fsid is None)
        volume.fsid, volume.fs_size = fsid, volume.size
        model.served[share] = volume.id
        model.mounted.add(share)

    @precondition(lambda self: self.servers)
    @rule(share=shares, server=servers)
    def remove(self, share: str, server: str) -> None:
        model = self.servers.get(server)
        if model and model.up:
            self.fence += 1
            self.guest(server).remove_share(share, f"/shares/{share}", fence=self.fence)
            volume = self.volumes.get(share)
            if volume and share in model.mounted:
                self.flush(volume)
            model.served.pop(share, None)
            model.mounted.discard(share)

    @precondition(lambda self: any(self.reaches(share) for share in SHARES))
    @rule(sync=st.booleans())
    def write(self, sync: bool) -> None:
        """To every share that can be reached."""
        for share in filter(self.reaches, SHARES):
            data = uuid4().bytes
            self.cloud.client(CLIENT).mount(self.location(share)).write("file", data, sync=sync)
            volume = self.volumes[share]
            if sync:
                volume.cached.pop("file", None)
            (volume.files if sync else volume.cached)["file"] = data

    # --- what must be true after each step ------------------------------------------------------

    @invariant()
    def places_agree(self) -> None:
        assert {
            volume.owner: (volume.id, volume.size_gib, volume.instance_id)
            for volume in self.cloud.volumes.list_volumes()
        } == {
            share: (model.id, model.size, model.server and self.servers[model.server].id)
            for share, model in self.volumes.items()
        }
        assert {s.owner: s.size_gib for s in self.cloud.volumes.list_snapshots()} == {
            name: model.size for name, model in self.snapshots.items()
        }
        assert {i.owner: i.status for i in self.cloud.compute.list_instances()} == {
            f"share_server/{name}": "active" if model.up else "stopped"
            for name, model in self.servers.items()
        }
        (pool,) = self.cloud.volumes.pools()
        assert pool.allocated_gib == sum(volume.size for volume in self.volumes.values())

    @invariant()
    def content_agrees(self) -> None:
        for model in [*self.volumes.values(), *self.snapshots.values()]:
            disk = self.cloud.disk(model.id)
            assert (disk.fs_uuid, disk.fs_gib or 0) == (model.fsid, model.fs_size)
            assert disk.files == model.files

    @invariant()
    def clients_see_it(self) -> None:
        for share, model in self.volumes.items():
            if self.reaches(share):
                mount = self.cloud.client(CLIENT).mount(self.location(share))
                seen = {name: mount.read(name) for name in mount.files()}
                assert seen == model.files | model.cached
            elif model.server:
                with pytest.raises((TimeoutError, FileNotFoundError)):
                    self.cloud.client(CLIENT).mount(self.location(share))

    @invariant()
    def guests_agree(self) -> None:
        for name, model in self.servers.items():
            if model.up:
                health = self.guest(name).health()
                assert {s.share_id: s.mounted for s in health.shares} == {
                    share: share in model.mounted for share in model.served
                }

    # --- the model's own questions --------------------------------------------------------------

    def attached_to(self, server: str) -> list[ModelVolume]:
        return [volume for volume in self.volumes.values() if volume.server == server]

    def reaches(self, share: str) -> bool:
        volume = self.volumes.get(share)
        if volume is None or volume.server is None:
            return False
        server = self.servers[volume.server]
        return server.up and share in server.mounted

    def location(self, share: str) -> str:
        server = self.volumes[share].server
        assert server is not None
        return f"{self.ports[server].addresses[0]}:/shares/{share}"

    @staticmethod
    def flush(volume: ModelVolume) -> None:
        volume.files.update(volume.cached)
        volume.cached.clear()


TestWorld = CloudMachine.TestCase
TestWorld.settings = settings(max_examples=60, stateful_step_count=50, deadline=None)
