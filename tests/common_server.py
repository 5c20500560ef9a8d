"""An administrator's own instance on the simulated cloud, for back ends without share servers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from atoll.cloud.base import Identity, Instance, InstanceSpec
from atoll.cloud.memory import MemoryCloud

NAME = "nas"
USER = "filer"
HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHN0YWdlZA"


def options(directory: Path) -> dict[str, Any]:
    """What the configuration says of it; the login key's file is in ``directory``."""
    key = directory / "filer.key"
    key.write_text("the administrator's private key\n", encoding="utf-8")
    return {
        "driver_handles_share_servers": False,
        "service_instance_name_or_id": NAME,
        "service_net_name_or_ip": "admin/management",
        "tenant_net_name_or_ip": "admin/clients",
        "service_instance_user": USER,
        "path_to_private_key": key,
        "service_instance_host_key": f"{HOST_KEY} root@nas",
    }


def make(world: Path, owner: str = "admin/nas") -> Instance:
    """The instance, on two networks, as the administrator makes it."""
    cloud = MemoryCloud("admin", path=world, journal=False)
    ports = [
        cloud.networks.create_port(owner, cloud.networks.create_network(network).id).id
        for network in ("admin/management", "admin/clients")
    ]
    identity = Identity(USER, "", "", HOST_KEY, NAME)
    made = cloud.compute.create_instance(InstanceSpec(owner, NAME, "any", tuple(ports), identity))
    cloud.close()
    return made
