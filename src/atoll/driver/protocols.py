"""What each protocol can do: who may be let in, and where clients find a share.

``NFSHelper`` and ``CIFSHelper`` are what the contract calls share helpers. They only know the
protocol's rules. Exporting is one call to the guest agent, the same for both.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from atoll import addresses
from atoll.driver.resources import ExportLocation
from atoll.errors import InvalidShareAccess, InvalidShareAccessLevel, ShareBackendException
from atoll.guest.base import AccessLevel, ExportRule, ShareProtocol


class ShareHelper:
    """What NFS and CIFS have in common."""

    protocol: ClassVar[ShareProtocol]
    levels: ClassVar[dict[str, tuple[AccessLevel, ...]]]
    """Access levels that each access type can have."""

    def export_rule(self, access_type: str, access_to: str, access_level: str) -> ExportRule:
        """The rule in canonical form, as the guest agent expects it.

        Raises ``InvalidShareAccess``, ``InvalidShareAccessLevel``, or ``Invalid`` for a malformed
        address.
        """
        levels = self.levels.get(access_type)
        if levels is None:
            raise InvalidShareAccess(
                public=f"{self.protocol} shares have no access rules of type {access_type!r}. "
                f"Types that they have: {', '.join(self.levels)}."
            )
        for level in levels:
            if level == access_level:
                return ExportRule("ip", addresses.canonical(access_to), level)
        raise InvalidShareAccessLevel(
            public=f"{self.protocol} access rules of type {access_type!r} have no level "
            f"{access_level!r}. Levels that they have: {', '.join(levels)}."
        )

    def export_locations(self, hosts: Iterable[str], path: str) -> list[ExportLocation]:
        """Where clients find the share, the preferred place first."""
        return [
            ExportLocation(
                path=self.location(host, path),
                is_admin_only=False,
                metadata={"preferred": number == 0},
            )
            for number, host in enumerate(hosts)
        ]

    def location(self, host: str, path: str) -> str:
        """The text that a client mounts."""
        raise NotImplementedError


class NFSHelper(ShareHelper):
    """NFS 3 and 4: ``10.0.0.5:/shares/<id>``."""

    protocol = "NFS"
    levels: ClassVar[dict[str, tuple[AccessLevel, ...]]] = {"ip": ("rw", "ro")}

    def location(self, host: str, path: str) -> str:
        """``address:/path``, with an IPv6 address in brackets."""
        return f"{addresses.bracketed(host)}:{path}"


class CIFSHelper(ShareHelper):
    """SMB: ``\\\\\\\\10.0.0.5\\\\<id>``. Samba lets hosts in to a share as a whole: always rw."""

    protocol = "CIFS"
    levels: ClassVar[dict[str, tuple[AccessLevel, ...]]] = {"ip": ("rw",)}

    def location(self, host: str, path: str) -> str:
        r"""``\\host\name``, IPv6 as Windows writes it there."""
        return rf"\\{addresses.unc(host)}" + "\\" + self.share_name(path)

    @staticmethod
    def share_name(path: str) -> str:
        """The name that Samba exports a path under."""
        return path.rsplit("/", 1)[-1]


HELPERS: dict[str, ShareHelper] = {
    helper.protocol: helper for helper in (NFSHelper(), CIFSHelper())
}


def helper_for(protocol: str, enabled: Iterable[str]) -> ShareHelper:
    """The protocol's helper. Raises ``ShareBackendException`` if the protocol isn't offered."""
    if protocol.upper() not in enabled or protocol.upper() not in HELPERS:
        raise ShareBackendException(
            public=f"The share protocol {protocol!r} is wrong, unsupported or disabled. "
            f"Offered: {', '.join(enabled)}."
        )
    return HELPERS[protocol.upper()]
