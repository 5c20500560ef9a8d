"""Opens the configured cloud. Its libraries are imported only if they are needed."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from atoll.cli import bootstrap, home
from atoll.cloud.base import Cloud
from atoll.config import Settings
from atoll.db.database import Database
from atoll.errors import ConfigurationError

if TYPE_CHECKING:
    from atoll.cloud.openstack import OpenStackCloud


def service_image(settings: Settings) -> Path | None:
    """The service image on this machine: the configured one, or the cached one."""
    from atoll.image import find_image

    if settings.local.service_image is not None:
        return settings.local.service_image
    built = find_image(settings.local.image_cache)
    return built.path if built is not None else None


def open_cloud(settings: Settings, deployment_id: str) -> Cloud:
    """The cloud for this deployment. Raises ``ConfigurationError`` if it can't work."""
    if settings.cloud == "memory":
        from atoll.cloud.memory import MemoryCloud

        return MemoryCloud(
            deployment_id,
            path=settings.state_dir / "memory-cloud.sqlite",
            capacity_gib=settings.memory.capacity_gib,
            boot_seconds=settings.memory.boot_seconds,
        )
    if settings.cloud == "openstack":
        return open_openstack(settings, deployment_id)
    from atoll.cloud.local import LocalCloud, LocalSettings

    local = settings.local
    return LocalCloud(
        deployment_id,
        LocalSettings(
            state_dir=settings.state_dir,
            libvirt_uri=local.libvirt_uri,
            image=service_image(settings),
            service_network_cidr=local.service_network_cidr,
            share_network_pool=local.share_network_pool,
            share_network_prefix=local.share_network_prefix,
            acceleration=local.acceleration,
            vcpus=local.vcpus,
            memory_mib=local.memory_mib,
            reserved_gib=local.reserved_gib,
            max_over_subscription_ratio=local.max_over_subscription_ratio,
        ),
    )


def open_own_cloud(settings: Settings, database: Database) -> Cloud:
    """Open the cloud that has this database's resources. The first cloud opened becomes that cloud.

    Raises ``ConfigurationError`` for another cloud, and for a copy of the database.
    """
    home.refuse_elsewhere(settings, database)  # before anything is made in another cloud
    cloud = open_cloud(settings, bootstrap.deployment_id(database))
    try:
        home.settle(settings, database, cloud)
    except BaseException:
        cloud.close()
        raise
    return cloud


def claim_cloud(settings: Settings, database: Database) -> tuple[str, str]:
    """Assign the database's place and the configured cloud to the deployment; describe both."""
    with closing(open_cloud(settings, bootstrap.deployment_id(database))) as cloud:
        return home.claim(settings, database, cloud)


def open_openstack(settings: Settings, deployment_id: str) -> OpenStackCloud:
    """The cloud ``openstack``. Raises ``ConfigurationError`` if its libraries are missing."""
    try:
        from atoll.cloud.openstack import OpenStackCloud, OpenStackSettings
    except ImportError as error:
        raise ConfigurationError(
            f"The libraries for OpenStack are not installed: {error}.",
            hint="Install Atoll with its extra [openstack].",
        ) from error
    return OpenStackCloud(
        deployment_id,
        OpenStackSettings(
            state_dir=settings.state_dir,
            service_network_cidr=settings.driver.service_network_cidr,
            admin_network_id=settings.driver.admin_network_id,
            threads=settings.worker.threads,
            **msgspec.structs.asdict(settings.openstack),
        ),
    )
