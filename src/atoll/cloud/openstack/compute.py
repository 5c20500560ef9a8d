"""Service instances in Nova.

A server has two tags, the deployment's and its owner's, so that one filtered list finds what an
interrupted call has made. Its identity is in a config drive. Its image puts disks on virtio-scsi,
so that a disk's serial is the whole id of its volume and more than 26 of them fit.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

from atoll.cloud.base import Fencing, FencingState, Instance, InstanceSpec, InstanceStatus
from atoll.cloud.openstack.api import Api, Json, part
from atoll.cloud.openstack.fencing import NovaFencing
from atoll.cloud.openstack.nova import (
    GONE,
    POWERED_OFF,
    NovaStatus,
    fault_of,
    is_idle,
    root_volumes_of,
    share_volumes_of,
    status_of,
)
from atoll.cloud.openstack.ports import NeutronPorts
from atoll.cloud.openstack.root_volumes import RootVolumes
from atoll.cloud.openstack.server_groups import ServerGroups
from atoll.cloud.openstack.settings import OpenStackSettings
from atoll.cloud.openstack.shapes import Server, checked, whole_ones
from atoll.cloud.openstack.tags import deployment_tag, owner_of, owner_tag
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.cloud.openstack.waiting import Watch
from atoll.errors import (
    CloudError,
    CloudNotFound,
    CloudUnavailable,
    InstanceMayStillRun,
    VolumeInUse,
)
from atoll.image.seed import user_data

BUILD_PAUSE = 1.0
"""Seconds between the first requests for an instance's status.

No build is quicker, and the guest's boot takes longer and doesn't depend on them.
"""
WIRING_PAUSE = 0.5
"""Seconds between the first requests for the status of ports, which are wired during the boot."""
REBOOT_SECONDS = 120.0
DELETE_SECONDS = 300.0
CONSOLE_LINES = 100
CLOCKS_DIFFER = timedelta(seconds=30)
"""How much Nova's clock may be behind this machine's."""


class NovaCompute:
    """Implements ``Compute``."""

    def __init__(
        self,
        api: Api,
        deployment: str,
        settings: OpenStackSettings,
        volumes: CinderVolumes,
        groups: ServerGroups,
        ports: NeutronPorts,
    ) -> None:
        self._api = api
        self._deployment = deployment
        self._settings = settings
        self._volumes = volumes
        self._attachments = volumes.attachments
        self._root_volumes = RootVolumes(volumes, settings.service_instance_boot_volume_gib)
        self._groups = groups
        self._ports = ports
        self.fences = NovaFencing(api)
        self._watch: Watch[Json] = Watch(self._find, self._by_id, BUILD_PAUSE)
        self._looked_at = datetime.now(UTC)
        self._wired: Watch[list[str]] = Watch(ports.connect, ports.unwired, WIRING_PAUSE)

    # --- making and removing ------------------------------------------------------------------

    def create_instance(self, spec: InstanceSpec) -> Instance:
        """Start an instance, or find ``spec.owner``'s; returns while it boots."""
        for server in self._servers(owner_tag(spec.owner)):
            return self._instance(server)
        zone = spec.availability_zone or self._settings.availability_zone
        hints = self._groups.hints()
        boot = self._root_volumes.boot_source(spec.owner, spec.image_id, zone)
        try:
            made = self._api.post("/servers", {"server": self._wish(spec, zone) | boot, **hints})
        except CloudUnavailable:
            raise  # the server may have been made, with only the answer lost
        except CloudError:
            self._root_volumes.discard(spec.owner)
            self._groups.expect(hints)
            raise
        server_id = str(part(made, "server")["id"])  # the answer contains little else
        return Instance(
            server_id, spec.owner, spec.name, InstanceStatus.BUILDING, port_ids=spec.port_ids
        )

    def _wish(self, spec: InstanceSpec, zone: str) -> Json:
        identity = spec.identity
        seed = user_data(
            user=identity.user,
            authorized_key=identity.authorized_key,
            host_key=identity.host_key,
            host_key_public=identity.host_key_public,
            hostname=identity.hostname,
        )
        wish: Json = {
            "name": spec.name,
            "flavorRef": self._settings.service_instance_flavor_id,
            "networks": [{"port": port_id} for port_id in spec.port_ids],
            "config_drive": True,
            "user_data": base64.b64encode(seed.encode()).decode(),
            "tags": [deployment_tag(self._deployment), owner_tag(spec.owner)],
        }
        if zone:
            wish["availability_zone"] = zone
        return wish

    def wait_for_instance(self, instance_id: str, deadline: float) -> Instance:
        """Return when it is active; raise ``CloudError`` with the fault if it fails."""

        def active(server: Json | None) -> bool:
            if server is None:
                raise CloudNotFound(f"There is no instance {instance_id}.")
            if server["status"] == NovaStatus.ERROR:
                raise CloudError(fault_of(server) or f"Instance {instance_id} is in error.")
            if status_of(server) == InstanceStatus.STOPPED:
                raise CloudError(f"Instance {instance_id} is {server['status'].lower()}.")
            return bool(server["status"] == NovaStatus.ACTIVE)

        server = self._watch.until(instance_id, active, deadline, f"The boot of {instance_id}")
        assert server is not None
        return self._instance(server)

    def delete_instance(self, instance_id: str) -> None:
        """Delete the instance. Its volumes are detached and its ports kept, for use by another."""
        doomed: tuple[str, ...] = ()
        if self._settings.service_instance_boot_volume_gib:
            doomed = root_volumes_of(self._find(instance_id))
        what = f"The deletion of instance {instance_id}"
        if not self._is_kept(instance_id):
            if not self._api.delete(f"/servers/{instance_id}"):
                return
            self._watch.until(instance_id, lambda server: server is None, DELETE_SECONDS, what)
        if self._is_kept(instance_id):
            # Nova keeps the server for a while so that it can be restored, with ports and volumes.
            self._act(instance_id, "forceDelete", None)
            gone: Watch[bool] = Watch(self._is_kept, dict)
            gone.until(instance_id, lambda is_kept: not is_kept, DELETE_SECONDS, what)
        for volume_id in doomed:
            self._volumes.delete_volume(volume_id)  # Nova has usually begun that

    def fencing(self, instance_id: str) -> Fencing:
        """What is known about the end of an instance, which may be gone."""
        server = self._even_if_kept(instance_id)
        if server is None:
            return self.fences.of_deleted(instance_id)
        return self.fences.of_server(server)

    def fence_instance(self, instance_id: str) -> None:
        """Delete the instance, if its host can be asked; return when its host has ended it."""
        found = self.fencing(instance_id)
        if found.state == FencingState.DOUBTFUL:
            raise InstanceMayStillRun(found.reason, instance_id=instance_id)
        self.delete_instance(instance_id)
        if found.state == FencingState.POSSIBLE:
            self.fences.await_proof(instance_id)

    # --- looking ------------------------------------------------------------------------------

    def get_instance(self, instance_id: str) -> Instance | None:
        """The instance, or None when it is gone."""
        server = self._find(instance_id)
        return self._instance(server) if server is not None else None

    def find_instance(self, name_or_id: str) -> Instance | None:
        """Any instance of the project, also one of another owner, by its id or unique name."""
        server = self._find(name_or_id)
        if server is None:
            query = f"^{re.escape(name_or_id)}$"
            listed = self._api.list("/servers/detail", "servers", name=query)
            named = [checked(Server, each) for each in listed]
            if len(named) > 1:
                raise CloudError(f"{len(named)} instances are named {name_or_id}: give an id.")
            server = named[0] if named else None
        return self._instance(server) if server is not None else None

    def list_instances(self) -> list[Instance]:
        """All instances of this deployment."""
        servers = list(self._servers())
        ports = self._ports.by_instance("") if servers else {}
        return [self._instance(server, ports) for server in servers]

    def stopped(self) -> set[str]:
        """Ids of servers that have changed since the last call and don't run, deleted ones too."""
        now = datetime.now(UTC)
        found = self._api.list(
            "/servers/detail",
            "servers",
            tags=deployment_tag(self._deployment),
            **{"changes-since": (self._looked_at - CLOCKS_DIFFER).isoformat(timespec="seconds")},
        )
        self._looked_at = now
        ended = POWERED_OFF | GONE | {NovaStatus.ERROR}
        return {str(server["id"]) for server in found if server.get("status") in ended}

    def console(self, instance_id: str) -> str:
        """The last lines of its serial console, for messages about a failed boot."""
        answer = self._act(instance_id, "os-getConsoleOutput", {"length": CONSOLE_LINES})
        return str(answer.get("output") or "")

    def flavor(self) -> str:
        """The flavor of service instances, for people. Raises ``CloudNotFound``."""
        found = self._api.get(f"/flavors/{self._settings.service_instance_flavor_id}")["flavor"]
        return f"{found['name']}: {found['vcpus']} CPUs, {found['ram']} MiB"

    # --- power --------------------------------------------------------------------------------

    def reboot_instance(self, instance_id: str, *, soft: bool = False) -> None:
        """Reset it (or press its power button); also starts a stopped one."""
        server = self._find(instance_id)
        if server is None:
            raise CloudNotFound(f"There is no instance {instance_id}.")
        if server["status"] in POWERED_OFF:
            self._act(instance_id, "os-start", None)
        else:
            self._act(instance_id, "reboot", {"type": "SOFT" if soft else "HARD"})
        self._watch.until(instance_id, is_idle, REBOOT_SECONDS, f"The reboot of {instance_id}")

    # --- plugging -----------------------------------------------------------------------------

    def attach_volume(self, instance_id: str, volume_id: str) -> None:
        """Plug a volume in. ``VolumeInUse`` if another instance has it."""
        if self.begin_attaching(instance_id, volume_id):
            self._attachments.await_attached(volume_id, instance_id)

    def begin_attaching(self, instance_id: str, volume_id: str) -> bool:
        """Have a volume plugged in. Returns True if Nova accepted that and it is in progress."""
        if self._is_attached(instance_id, volume_id):
            return False
        path = f"/servers/{instance_id}/os-volume_attachments"
        wish = {"volumeAttachment": {"volumeId": volume_id}}
        try:
            self._api.post(path, wish)
        except CloudError as error:
            # Nova attaches nothing while it builds the server, nor a volume that is being changed.
            # An answer may also have been lost.
            if not (error.retryable or self._attachments.is_plugging(volume_id)):
                raise
            self.wait_for_instance(instance_id, self._settings.max_time_to_attach)
            if self._is_attached(instance_id, volume_id):
                return False
            self._api.post(path, wish)
        return True

    def _is_attached(self, instance_id: str, volume_id: str) -> bool:
        """Whether the instance has the volume, once no change of the volume is in progress.

        Raises ``VolumeInUse`` if another instance has it. An instance that was deleted doesn't
        count if it is proved that it has ended.
        """
        try:
            volume = self._volumes.expect(volume_id)
        except CloudUnavailable:
            # If these keep the volume, the next try finds it free.
            self._forget_lost_attachments(volume_id)
            raise
        if volume.instance_id not in (None, instance_id):
            if self._find(volume.instance_id) is not None:
                raise VolumeInUse(
                    f"Volume {volume_id} is attached to instance {volume.instance_id}."
                )
            self._forget_lost_attachments(volume_id)
        return volume.instance_id == instance_id

    def _forget_lost_attachments(self, volume_id: str) -> None:
        """Delete attachments that Nova has no server for, if these servers have ended.

        Raises ``VolumeInUse`` if one of them may still write.
        """
        for attachment in self._attachments.of(volume_id):
            instance_id = attachment["instance"]
            path = f"/servers/{instance_id}/os-volume_attachments/{volume_id}"
            if self._api.find(path) is not None:
                continue
            if self._find(instance_id) is None and self._may_run(instance_id):
                raise VolumeInUse(
                    f"Cinder shows volume {volume_id} attached to instance {instance_id}, which is "
                    "gone, but may still run.",
                    hint="Make sure that it does not, then 'openstack --os-volume-api-version 3.27 "
                    f"volume attachment delete {attachment['id']}'.",
                )
            self._attachments.forget(attachment)

    def _may_run(self, instance_id: str) -> bool:
        return self.fencing(instance_id).state != FencingState.PROVED

    def detach_volume(self, instance_id: str, volume_id: str) -> None:
        """Unplug a volume; returns when the instance has let go of it."""
        volume = self._attachments.calm(volume_id)
        if volume is None or instance_id not in (a["server_id"] for a in volume["attachments"]):
            return
        if not self._api.delete(f"/servers/{instance_id}/os-volume_attachments/{volume_id}"):
            self._forget_lost_attachments(volume_id)  # its server was deleted
        self._attachments.await_detached(volume_id)

    def attach_port(self, instance_id: str, port_id: str) -> None:
        """Plug a port into a running instance (warm instances)."""
        if port_id in self._ports.by_instance(instance_id).get(instance_id, ()):
            return
        self._ports.put_up(port_id)  # the instance runs, so its boot can't be delayed by the port
        self._api.post(
            f"/servers/{instance_id}/os-interface", {"interfaceAttachment": {"port_id": port_id}}
        )

    def connect_ports(self, instance_id: str, deadline: float) -> None:
        """Have packets pass the ports of an active instance; return when they do (seconds).

        Raises ``CloudUnavailable`` when they don't in time.
        """
        what = f"The wiring of the ports of {instance_id}"
        self._wired.until(instance_id, lambda waiting: not waiting, deadline, what)

    # --- how ----------------------------------------------------------------------------------

    def _find(self, instance_id: str) -> Json | None:
        server = self._even_if_kept(instance_id)
        return None if server is None or server["status"] in GONE else server

    def _even_if_kept(self, instance_id: str) -> Json | None:
        """The server, also if it is deleted but can be restored (``reclaim_instance_interval``)."""
        answer = self._api.find(f"/servers/{instance_id}")
        if answer is None or part(answer, "server").get("status") == NovaStatus.DELETED:
            return None
        return checked(Server, answer["server"])

    def _is_kept(self, instance_id: str) -> bool:
        server = self._even_if_kept(instance_id)
        return server is not None and server["status"] == NovaStatus.SOFT_DELETED

    def _servers(self, *tags: str) -> Iterable[Json]:
        """This deployment's servers that also have these tags."""
        wanted = ",".join((deployment_tag(self._deployment), *tags))
        listed = (
            server
            for server in self._api.list("/servers/detail", "servers", tags=wanted)
            if not (isinstance(server, dict) and server.get("status") in GONE)
        )
        if not tags:
            return whole_ones(Server, listed)
        return [checked(Server, server) for server in listed]

    def _by_id(self) -> dict[str, Json]:
        return {server["id"]: server for server in self._servers()}

    def _act(self, instance_id: str, action: str, arguments: Any) -> Json:
        try:
            return self._api.post(f"/servers/{instance_id}/action", {action: arguments})
        except CloudUnavailable as error:
            raise CloudUnavailable(f"Instance {instance_id} is busy: {error}") from error

    def _instance(self, server: Json, ports: dict[str, tuple[str, ...]] | None = None) -> Instance:
        """The server as an ``Instance``."""
        instance_id = server["id"]
        ports = self._ports.by_instance(instance_id) if ports is None else ports
        return Instance(
            instance_id,
            owner_of(server["tags"]),
            server["name"],
            status_of(server),
            fault_of(server),
            ports.get(instance_id, ()),
            share_volumes_of(server),
        )
