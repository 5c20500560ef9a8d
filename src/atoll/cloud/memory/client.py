"""A user's machine in the simulated cloud: it mounts shares and reads and writes files.

    mount = cloud.client("10.0.0.42").mount("10.0.0.10:/shares/1f3a")
    mount.write("notes.txt", b"hello")

Errors are those of a kernel: ``PermissionError`` (no rule lets this address in),
``FileNotFoundError`` (no such export), ``TimeoutError`` (server dead, hung or frozen), and
``OSError`` with ``EROFS``, ``ENOSPC`` or ``ESTALE``.
"""

from __future__ import annotations

import errno
import json
import os
import time
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address, ip_network

from atoll.cloud.memory import nfs_state
from atoll.cloud.memory.guest import GIB, is_frozen
from atoll.cloud.memory.world import World
from atoll.model.states import FileSystemState


@dataclass(frozen=True, slots=True)
class Export:
    """A share as a client reaches it at this moment."""

    instance_id: str
    serial: str
    fsid: str
    level: str
    size_gib: int
    frozen: bool
    state: FileSystemState


class MemoryClient:
    """A machine at one address. ``user`` is the user that logs in to CIFS shares."""

    def __init__(self, world: World, address: str, user: str = "") -> None:
        self._world = world
        self.address = address
        self.user = user

    def mount(self, location: str) -> Mount:
        r"""Mount an export location: ``address:/path`` (NFS) or ``\\address\name`` (CIFS)."""
        export = self.reach(location)
        return Mount(self, self._world, location, export.fsid)

    def may_mount(self, location: str) -> bool:
        """Whether ``mount`` would succeed."""
        try:
            self.reach(location)
        except PermissionError:
            return False
        return True

    def reach(self, location: str) -> Export:
        """The export behind a location, if it lets this client in."""
        protocol, address, place = _parse(location)
        instance_id = self._server(address)
        if protocol == "NFS" and not nfs_state.is_running(self._world, instance_id):
            raise TimeoutError(errno.ETIMEDOUT, "The NFS server does not answer", location)
        column = "path" if protocol == "NFS" else "name"
        row = self._world.row(
            "SELECT serial, fsid, rules, exported, frozen_until, frozen_by, fs_gib, fs_state"  # noqa: S608
            " FROM served JOIN volumes ON volumes.id = serial"
            f" WHERE served.instance_id = ? AND protocol = ? AND {column} = ? AND mounted",
            instance_id,
            protocol,
            place,
        )
        if row is None:
            raise FileNotFoundError(errno.ENOENT, "No such export", location)
        serial, fsid, rules, exported, frozen_until, frozen_by, fs_gib, state = row
        level = self._level(protocol, json.loads(rules)) if exported else None
        if level is None:
            raise PermissionError(errno.EACCES, f"Access denied to {self.address}", location)
        frozen = is_frozen(frozen_until, frozen_by)
        return Export(instance_id, serial, fsid, level, fs_gib, frozen, FileSystemState(state))

    def _server(self, address: str) -> str:
        rows = self._world.rows(
            "SELECT i.id, s.id, s.owner FROM ports JOIN instances i ON i.id = instance_id"
            " JOIN subnets s ON s.id = subnet_id"
            " WHERE address = ? AND power = 'active' AND NOT hung AND ready_at <= ?",
            address,
            time.time(),
        )
        for instance_id, subnet_id, owner in rows:
            if owner is None or self._is_routed_to(subnet_id):
                return str(instance_id)
        raise TimeoutError(errno.ETIMEDOUT, "The server does not answer", address)

    def _is_routed_to(self, subnet_id: str) -> bool:
        """Whether a router connects this machine's subnet to one of Atoll's own."""
        connected = self._world.rows(
            "SELECT cidr FROM router_interfaces here JOIN router_interfaces there"
            " ON here.router_id = there.router_id JOIN subnets ON subnets.id = here.subnet_id"
            " WHERE there.subnet_id = ?",
            subnet_id,
        )
        return any(_within(self.address, cidr) for (cidr,) in connected)

    def _level(self, protocol: str, rules: list[list[str]]) -> str | None:
        hosts = [(to, level) for kind, to, level in rules if kind == "ip"]
        if protocol == "NFS":
            return self._nfs_level(hosts)
        users = {to: level for kind, to, level in rules if kind == "user"}
        if hosts and not any(_within(self.address, to) for to, _ in hosts):
            return None
        if users:
            return users.get(self.user)
        return "rw" if hosts else None

    def _nfs_level(self, hosts: list[tuple[str, str]]) -> str | None:
        """The rule that applies by exports(5): a single address, else the first that matches."""
        matching = [(to, level) for to, level in hosts if _within(self.address, to)]
        single = [level for to, level in matching if "/" not in to]
        return next(iter(single or [level for _, level in matching]), None)


class Mount:
    """A mounted share. Every access is a request to the server, as in the kernel."""

    def __init__(self, client: MemoryClient, world: World, location: str, fsid: str) -> None:
        self._client = client
        self._world = world
        self._location = location
        self._fsid = fsid

    def write(self, name: str, data: bytes, *, sync: bool = True) -> None:
        """Write a whole file. Without ``sync`` it stays in the server's page cache, where a power
        failure loses it and a snapshot of a file system that isn't frozen doesn't have it.
        """
        with self._world.change():
            export = self._reach()
            if export.level != "rw" or export.state == FileSystemState.READ_ONLY:
                raise OSError(errno.EROFS, os.strerror(errno.EROFS), name)
            if export.frozen:
                raise TimeoutError(errno.ETIMEDOUT, "The file system is frozen", name)
            (used,) = self._world.row(
                "SELECT coalesce(sum(length(data)), 0) FROM files WHERE disk_id = ? AND name <> ?",
                export.serial,
                name,
            ) or (0,)
            if used + len(data) > export.size_gib * GIB:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
            if sync:
                self._world.execute(
                    "DELETE FROM files WHERE disk_id = ? AND name = ?", export.serial, name
                )
            self._world.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                export.serial,
                name,
                data,
                sync,
            )

    def read(self, name: str) -> bytes:
        """A whole file."""
        row = self._world.row(
            "SELECT data FROM files WHERE disk_id = ? AND name = ? ORDER BY flushed",
            self._reach().serial,
            name,
        )
        if row is None:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), name)
        return bytes(row[0])

    def files(self) -> list[str]:
        """Names of all files."""
        serial = self._reach().serial
        rows = self._world.rows(
            "SELECT DISTINCT name FROM files WHERE disk_id = ? ORDER BY name", serial
        )
        return [row[0] for row in rows]

    def lock(self, name: str) -> None:
        """Lock a file. Raises ``BlockingIOError`` if another client has the lock."""
        with self._world.change():
            export = self._reach()
            nfs_state.lock(self._world, export.instance_id, self._fsid, name, self._client.address)

    def unlock(self, name: str) -> None:
        """Release the lock of a file."""
        nfs_state.unlock(self._world, self._fsid, name, self._client.address)

    def size_gib(self) -> int:
        """The size that ``df`` shows."""
        return self._reach().size_gib

    def _reach(self) -> Export:
        export = self._client.reach(self._location)
        if export.fsid != self._fsid:
            raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), self._location)
        if export.state == FileSystemState.SHUT_DOWN:
            raise OSError(errno.EIO, os.strerror(errno.EIO), self._location)
        return export


def _parse(location: str) -> tuple[str, str, str]:
    if location.startswith("\\\\"):
        address, _, name = location[2:].partition("\\")
        return "CIFS", address, name
    address, _, path = location.partition(":/")
    return "NFS", address.strip("[]"), f"/{path}"


@lru_cache(maxsize=65536)
def _within(address: str, to: str) -> bool:
    return ip_address(address) in ip_network(to)
