"""The common server: one instance for all shares, made by the administrator.

The contract calls this ``driver_handles_share_servers = False``. Atoll attaches volumes to the
instance and logs in with the administrator's key, and checks the host key that the administrator
has given. It never makes, reboots, replaces or deletes the instance.
"""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path

from atoll.cloud.base import Access, Cloud, Instance
from atoll.config import Driver as DriverOptions
from atoll.errors import ConfigurationError, ServiceInstanceException, ServiceInstanceUnavailable
from atoll.guest.host_key import host_key

NEEDED = (
    "service_instance_name_or_id",
    "service_net_name_or_ip",
    "tenant_net_name_or_ip",
    "path_to_private_key",
    "service_instance_host_key",
)


class CommonServer:
    """Finds the common server, and how to log in to it."""

    def __init__(self, cloud: Cloud, options: DriverOptions) -> None:
        self._cloud = cloud
        self._options = options

    def check(self) -> None:
        """Raise ``ConfigurationError`` for missing options, or files that can't be read."""
        missing = [name for name in NEEDED if not getattr(self._options, name)]
        if missing:
            raise ConfigurationError(
                f"Without driver_handles_share_servers these are needed: {', '.join(missing)}."
            )
        self.access("", "")

    def details(self) -> dict[str, str]:
        """The same details as a share server's, but without ``server_id``.

        Raises ``ServiceInstanceUnavailable`` if there is no such instance.
        """
        self.check()
        name = self._options.service_instance_name_or_id
        instance = self._cloud.compute.find_instance(name)
        if instance is None:
            raise ServiceInstanceUnavailable(
                f"The common server, {name}, does not exist.",
                hint="The administrator must make it, or correct service_instance_name_or_id.",
                public="The common server does not exist. Only the administrator can make it.",
            )
        public = self._addresses(instance, "tenant_net_name_or_ip")
        return {
            "instance_id": instance.id,
            "username": self._options.service_instance_user,
            "ip": self._addresses(instance, "service_net_name_or_ip")[0],
            "public_address": public[0],
            "public_addresses": ",".join(public),
        }

    def access(self, user: str, address: str) -> Access:
        """How to log in, with the administrator's key."""
        key = self._options.path_to_private_key
        return Access(
            user=user,
            address=address,
            private_key=_read(key, "path_to_private_key") if key is not None else "",
            host_key_public=host_key(
                self._options.service_instance_host_key, "service_instance_host_key"
            ),
        )

    def _addresses(self, instance: Instance, option: str) -> list[str]:
        """The address in the option, or those in the network that the option names, IPv4 first."""
        wanted = str(getattr(self._options, option))
        try:
            return [str(ip_address(wanted))]
        except ValueError:
            pass
        for port in self._cloud.networks.ports_of_instance(instance.id):
            network = self._cloud.networks.get_network(port.network_id)
            if network is not None and wanted in (network.id, network.name) and port.addresses:
                return sorted(port.addresses, key=lambda address: ":" in address)
        raise ServiceInstanceException(
            f"The common server has no address in a network {wanted}.",
            hint=f"The administrator must correct {option}.",
            public="The common server has no address that shares could be reached at. Only the "
            "administrator can correct that.",
        )


def _read(path: Path, option: str) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{option}: {path} can't be read: {error}.") from error
