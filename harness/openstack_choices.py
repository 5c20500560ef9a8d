"""Chooses what the demo uses in a cloud, unless environment variables name it."""

from __future__ import annotations

import os
import socket
from typing import Any

from openstack import exceptions
from openstack.connection import Connection

from harness.steps import CheckFailed

EXTERNAL_NETWORK = "ATOLL_DEMO_EXTERNAL_NETWORK"
FLAVOR = "ATOLL_DEMO_FLAVOR"
INTERFACE = "ATOLL_DEMO_INTERFACE"
USER_PROJECT = "ATOLL_DEMO_USER_PROJECT"
LEAST_MIB = 512
_INTERFACES = {
    "neutron-linuxbridge-agent": "linuxbridge",
    "neutron-openvswitch-agent": "openvswitch",
}


def user(connection: Connection, project: str = "") -> Connection:
    """The user's connection: to the given project, to that of the environment, or to Atoll's."""
    if project:
        return connection.connect_as_project({"id": project})
    wanted = os.environ.get(USER_PROJECT, "")
    return connection.connect_as_project(wanted) if wanted else connection


def external_network(connection: Connection) -> str:
    """Id of the network with floating addresses: the first one, unless one is named."""
    neutron: Any = connection.network
    wanted = os.environ.get(EXTERNAL_NETWORK, "")
    if wanted:
        return str(neutron.find_network(wanted, ignore_missing=False).id)
    found = sorted(neutron.networks(is_router_external=True), key=lambda each: str(each.name))
    if not found:
        raise CheckFailed(f"The cloud has no external network; name one by {EXTERNAL_NETWORK}.")
    return str(found[0].id)


def flavor(connection: Connection) -> str:
    """Id of the flavor of all servers: the smallest suitable one, unless one is named."""
    nova: Any = connection.compute
    wanted = os.environ.get(FLAVOR, "")
    if wanted:
        return str(nova.find_flavor(wanted, ignore_missing=False).id)
    fitting = [each for each in nova.flavors() if each.ram >= LEAST_MIB]
    if not fitting:
        raise CheckFailed(f"No flavor has {LEAST_MIB} MiB of memory; name one by {FLAVOR}.")
    smallest = min(fitting, key=lambda each: (each.ram, each.vcpus, each.disk, each.id))
    return str(smallest.id)


def service_network_interface(connection: Connection) -> str:
    """How this machine is connected to the service network: by its Neutron agent, if it has one.

    Only administrators can list agents. Without the permission or an agent, the result is "none".
    """
    wanted = os.environ.get(INTERFACE, "")
    if wanted:
        return wanted
    neutron: Any = connection.network
    try:
        agents = [agent for agent in neutron.agents(host=socket.gethostname()) if agent.is_alive]
    except (exceptions.ForbiddenException, exceptions.NotFoundException):
        return "none"
    kinds = [_INTERFACES[agent.binary] for agent in agents if agent.binary in _INTERFACES]
    return kinds[0] if kinds else "none"
