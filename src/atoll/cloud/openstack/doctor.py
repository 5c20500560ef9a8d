"""What ``atoll doctor`` checks in an OpenStack cloud."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from typing import TYPE_CHECKING

from atoll.cloud.base import Finding, InstanceStatus
from atoll.cloud.openstack.host_devices import is_on_link
from atoll.errors import AtollError, CloudError, ConfigurationError
from atoll.guest.bastion import Bastion, greets_behind
from atoll.guest.ssh import await_banner

if TYPE_CHECKING:
    from atoll.cloud.openstack.cloud import OpenStackCloud

ANSWER_SECONDS = 10.0
SSH = 22
_AGENTS = {"linuxbridge": "Linux bridge agent", "openvswitch": "Open vSwitch agent"}
_GLANCE = "Does 'openstack image list' answer with Atoll's credentials?"
_FLAVOR = "Set service_instance_flavor_id to the id of a flavor: 'openstack flavor list'."
_CINDER = "Does 'openstack volume service list' show all up?"
_NEUTRON = "Does 'openstack network agent list' show all alive?"
_NOVA = "Does 'openstack compute service list' answer?"
_WAY = "See 'How workers reach instances' in the guide for OpenStack."
_RULES = "A running worker writes them again within seconds: is one running on this machine?"
_PROGRAMS = {"linuxbridge": ("ip", "nft"), "openvswitch": ("ip", "nft", "ovs-vsctl")}


def findings(cloud: OpenStackCloud) -> list[Finding]:
    """One finding for each thing that is checked."""
    return [
        _finding("Service image", lambda: cloud.images.service_image().name, _GLANCE),
        _finding("Flavor", lambda: cloud.compute.flavor(), _FLAVOR),
        _finding("Block storage", lambda: _capacity(cloud), _CINDER),
        _finding("Networking", lambda: _networks(cloud), _NEUTRON),
        _finding("Way to instances", lambda: _way(cloud), _WAY),
        _finding("Compute hosts", lambda: cloud.compute.fences.hosts(), _NOVA),
        _finding("Isolation", lambda: _isolation(cloud), _RULES),
    ]


def _finding(check: str, look: Callable[[], str], todo: str) -> Finding:
    try:
        return Finding(check, True, look())
    except AtollError as error:
        return Finding(check, False, error.message, error.hint or todo)


def _networks(cloud: OpenStackCloud) -> str:
    return f"{len(cloud.networks.list_networks())} networks of ours"


def _capacity(cloud: OpenStackCloud) -> str:
    pools = cloud.volumes.pools()
    return ", ".join(
        f"{pool.name}: {pool.free_gib:g} of {pool.total_gib:g} GiB free" for pool in pools
    )


def _way(cloud: OpenStackCloud) -> str:
    """How instances are reached. It is tried if there is an instance to try it on."""
    address = _an_address(cloud)
    bastion = cloud.channels.bastion
    if bastion is not None:
        return _through(bastion, cloud, address)
    kind = cloud.settings.service_network_interface
    if kind == "none":
        if address is None:
            return "by routes; there is no instance to try it on yet"
        await_banner(address, SSH, ANSWER_SECONDS)
        return f"by routes: the instance at {address} answers"
    host = _pluggable(cloud, kind)
    if address is None or not is_on_link(address):
        return f"by a port of the host {host}, which is plugged in when it is needed"
    await_banner(address, SSH, ANSWER_SECONDS)
    return f"by a port of the host {host}: the instance at {address} answers"


def _isolation(cloud: OpenStackCloud) -> str:
    """Whether this host is closed to instances and to users' routers."""
    if cloud.settings.service_network_interface == "none":
        return "this host has no port of ours in the service network"
    if not cloud.channels.host_port.is_guarded():
        raise CloudError(
            "The nftables rules that close this host to the service network are missing, or "
            "were changed."
        )
    return "this host accepts ping and replies from the service network, and nothing else"


def _an_address(cloud: OpenStackCloud) -> str | None:
    """The address at which one of the running instances should answer."""
    active = [
        each for each in cloud.compute.list_instances() if each.status == InstanceStatus.ACTIVE
    ]
    if not active:
        return None
    management = cloud.networks.service.management()["id"]
    here = [
        port
        for port in cloud.networks.list_ports()
        if port.network_id == management and port.addresses
    ]
    plugged = {port_id for each in active for port_id in each.port_ids}
    return next((port.addresses[0] for port in here if port.id in plugged), None)


def _through(bastion: Bastion, cloud: OpenStackCloud, address: str | None) -> str:
    folder = cloud.channels.folder
    target = address or "127.0.0.1"  # without an instance, the bastion's own ssh server is tried
    port = SSH if address else bastion.port
    greets_behind(bastion, folder, target, port, seconds=ANSWER_SECONDS)
    seen = f"the instance at {address} answers" if address else "it accepts the login"
    return f"by the bastion {bastion.host}: {seen}"


def _pluggable(cloud: OpenStackCloud, kind: str) -> str:
    """This host's name, if Neutron can plug it in. Raises ``CloudError`` with what to do if not."""
    missing = [program for program in _PROGRAMS[kind] if shutil.which(program) is None]
    if missing:
        raise ConfigurationError(
            f"service_network_interface = {kind!r} needs the program {missing[0]}.",
            hint="Install it, or choose another way to reach service instances.",
        )
    if os.geteuid() != 0:
        raise ConfigurationError(
            f"service_network_interface = {kind!r} needs root, to make network devices.",
            hint="Run the worker as root, or choose another way to reach service instances.",
        )
    host = cloud.channels.host_port.host
    agents = cloud.networks.agents(host)
    if not any(agent["agent_type"] == _AGENTS[kind] and agent["alive"] for agent in agents):
        raise CloudError(
            f"Neutron reports no live {_AGENTS[kind]} on the host {host!r}.",
            hint="Start it, or set service_network_host to this machine's name in 'openstack "
            "network agent list', or choose another way to reach service instances.",
        )
    return host
