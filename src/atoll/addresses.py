"""IP addresses and networks of access rules: their canonical text, and comparison of it.

The API and the driver both use this module, so that what the API accepts is what the driver
applies. Two rules name the same client exactly if their canonical texts are equal: ``10.0.0.1``
and ``10.0.0.1/32`` do, ``10.0.0.1`` and ``10.0.0.10`` do not.
"""

from __future__ import annotations

import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network

from atoll.errors import Invalid

Network = IPv4Network | IPv6Network

_ALPHABET = re.compile(r"[0-9A-Fa-f.:]{2,45}(?:/[0-9]{1,3})?", re.ASCII)
_MAPPED = IPv6Network("::ffff:0:0/96")


def parse(text: str) -> Network:
    """The network that an address or CIDR names; an address is a network of one address.

    Raises ``Invalid`` for anything else, such as host bits that are set, zones (``%eth0``) and
    netmasks. An IPv4-mapped IPv6 address becomes its IPv4 address, because servers see such a
    client under that address.
    """
    if not _ALPHABET.fullmatch(text):
        raise Invalid(f"{text!r} is not an IP address or CIDR.")
    try:
        network = ip_network(text)
    except ValueError as error:
        raise Invalid(f"{text!r} is not an IP address or CIDR: {error}.") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        wrapped = IPv4Address(int(network.network_address) & 0xFFFF_FFFF)
        return IPv4Network((wrapped, network.prefixlen - 96))
    return network


def canonical(text: str) -> str:
    """The canonical text of an address or CIDR: a single address has no prefix length."""
    return write(parse(text))


def write(network: Network) -> str:
    """A network as text; a single address has no prefix length."""
    if network.prefixlen == network.max_prefixlen:
        return str(network.network_address)
    return str(network)


def covers(rule: str, client: str) -> bool:
    """Whether an access rule for ``rule`` admits the client with the address ``client``."""
    network, address = parse(rule), parse(client).network_address
    return network.version == address.version and address in network


def specificity(text: str) -> tuple[int, int, int]:
    """Sort key: the most specific network first, IPv4 before IPv6, then by address."""
    network = parse(text)
    return network.max_prefixlen - network.prefixlen, network.version, int(network.network_address)


def bracketed(address: str) -> str:
    """An address as written before ``:/path``: IPv6 in brackets."""
    return f"[{address}]" if is_ipv6(address) else address


def unc(address: str) -> str:
    """An address as a host in ``\\\\host\\share``, where colons aren't allowed."""
    if not is_ipv6(address):
        return address
    return f"{address.replace(':', '-')}.ipv6-literal.net"


def is_ipv6(address: str) -> bool:
    """Whether the address is an IPv6 address."""
    return isinstance(ip_address(address), IPv6Address)
