"""How service instances are connected, before there is an instance: subnets, ports and routers.

``base.py`` has the interface of a way to connect, ``neutron.py`` the two layouts of the contract,
``cuts.py`` the address ranges of service subnets.
"""

from atoll.driver.network.base import BaseNetworkhelper, InstancePorts
from atoll.driver.network.neutron import NeutronNetworkHelper

__all__ = ["BaseNetworkhelper", "InstancePorts", "NeutronNetworkHelper"]
