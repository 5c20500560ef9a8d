"""A running deployment on this machine, and what a test wants of it."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from openstack.shared_file_system.v2._proxy import Proxy

from atoll.cli.bootstrap import deployment_id
from atoll.cloud.local.bridge import bridge_prefix
from atoll.db import share_servers
from atoll.db.database import Database
from atoll.driver.identity import InstanceKeys
from atoll.driver.stand_in import StandIns
from atoll.lifecycle.seal import Seal
from atoll.lifecycle.storage import DatabaseStorage
from atoll.model.keys import server_key
from atoll.model.states import ServerStatus
from harness.client_vm import ClientVm, CommandFailed
from harness.leaks import mounts, processes
from harness.service import Service
from harness.story import MICROVERSION, connect
from harness.this_machine import bridge_of
from harness.wait import wait
from tests.api.served import Server
from tests.cloud.local_place import service_image

CONFIG = """
[worker]
lease = 6
reconcile_interval = 5

[driver]
replace_dead_after = {replace_dead_after}
warm_service_instances = {warm}

[local]
service_image = "{image}"
service_network_cidr = "10.251.0.0/24"
share_network_pool = "10.84.0.0/16"
reserved_gib = {reserved_gib}
"""


class LibvirtDeployment:
    """``atoll serve`` with a state directory of its own, and at most one client."""

    def __init__(self) -> None:
        # Not below /tmp, which may be in memory: this holds the disks.
        self.place = Path(tempfile.mkdtemp(prefix="atoll-system-", dir="/var/tmp"))
        self.place.chmod(0o711)  # QEMU runs as a user of its own
        self.image = service_image()
        self.service = Service(self.place / "service", config=self._config(), ready_seconds=600)
        self.service.start()
        self.state = self.service.state
        self._bridges = bridge_prefix(deployment_id(self._database()))
        self.api: Proxy = connect(self.service.endpoint, self.service.token)
        self._client: ClientVm | None = None
        self._bridge = ""

    def close(self) -> None:
        """Take everything away, and say what was left behind."""
        if self._client is not None:
            self._client.stop()
        try:
            self.service.stop()
        finally:
            self.service.run("purge", "--yes")
        lines = self.service.log.read_text().splitlines()
        log = [line for line in lines if '"GET"' not in line]
        print("\n".join(log))  # noqa: T201 - shown where something has failed
        left = [*processes(self.state), *mounts(self.state), *self.interfaces()]
        shutil.rmtree(self.place)
        assert not left

    def tidy(self) -> None:
        """Take away what a module's tests made, but for the first share network and its server."""
        if self._client is not None and self._client.is_on:
            self._client.run("umount --all --lazy --types nfs,nfs4,cifs")
        for snapshot in self.api.share_snapshots():
            self.api.delete_share_snapshot(snapshot.id)
        wait("the snapshots to go", lambda: not list(self.api.share_snapshots()))
        self.remove(*self.api.shares())
        servers = self.get("/share-servers")["share_servers"]
        if len(servers) > 1:  # warm ones, and one whose instance another one lends
            for server in servers:
                if server["status"] == ServerStatus.ACTIVE:
                    self.api.delete(f"/share-servers/{server['id']}", microversion=MICROVERSION)
            wait("the share servers to go", lambda: not self.get("/share-servers")["share_servers"])
        for network in self.api.share_networks():
            if network.name != "default":
                self.api.delete_share_network(network.id)
        for message in self.api.user_messages():
            self.api.delete_user_message(message.id)
        names = {network.name for network in self.api.share_networks()}
        wait("one instance at most", lambda: self.made()["instances"] <= len(names & {"default"}))

    def restart(self, **options: Any) -> None:
        """Stop and start the service with other options; instances go on meanwhile."""
        self.service.stop()
        self.service.configure(self._config(**options))
        self.service.start()

    def _config(
        self, *, replace_dead_after: float = 45, reserved_gib: float = 0.5, warm: int = 0
    ) -> str:
        return CONFIG.format(
            replace_dead_after=replace_dead_after,
            reserved_gib=reserved_gib,
            warm=warm,
            image=self.image,
        )

    # --- clients of the API -----------------------------------------------------------------

    @property
    def openstack(self) -> Server:
        """The ``openstack`` command."""
        return Server(self.service.endpoint, self.service.token, self.state)

    def get(self, path: str) -> Any:
        """The body of a GET."""
        return self.api.get(path, microversion=MICROVERSION).json()

    def network(self, name: str = "default") -> dict[str, Any]:
        """A share network's subnet, once its network is there; made where there is none."""
        found = [n for n in self.api.share_networks() if n.name == name]
        network = found[0] if found else self.api.create_share_network(name=name)

        def described() -> Any:
            [subnet] = self.get(f"/share-networks/{network.id}")["share_network"][
                "share_network_subnets"
            ]
            return subnet if subnet["cidr"] else None

        subnet = wait("the share network's network", described, 60)
        return {**subnet, "share_network_id": network.id}

    def share_network(self, _shares: Proxy) -> tuple[str, str]:
        """The ready one, for the demo's story."""
        return self.network()["share_network_id"], ""

    def share(self, name: str, size: int = 1, **options: Any) -> Any:
        """A new share, while it is being made."""
        options.setdefault("share_network_id", self.network()["share_network_id"])
        options.setdefault("share_protocol", "NFS")
        return self.api.create_share(name=name, size=size, **options)

    def available(self, share: Any, seconds: float = 240) -> Any:
        """The share, once it is there."""
        return self.settled(share, "available", seconds)

    def settled(self, share: Any, status: str, seconds: float = 240) -> Any:
        """The share, once it has this status."""

        def look() -> Any:
            seen = self.api.get_share(share.id)
            bad = "error" in seen.status and seen.status != status
            assert not bad, [m.user_message for m in self.api.user_messages()]
            return seen if seen.status == status else None

        return wait(f"status {status}", look, seconds)

    def allow(self, share: Any, to: str, level: str = "rw") -> Any:
        """An access rule, once it is applied."""
        rule = self.api.create_access_rule(
            share.id, access_level=level, access_type="ip", access_to=to
        )

        assert self.settled_rule(rule) == "active"
        return rule

    def settled_rule(self, rule: Any) -> str:
        """The state of a rule, once it is ``active`` or ``error``."""

        def look() -> str:
            state = str(self.api.get_access_rule(rule.id).state)
            return state if state in ("active", "error") else ""

        return str(wait("the rule to settle", look, 240))

    def deny(self, share: Any, rule: Any) -> None:
        """Take a rule away; returns when nobody is served by it any more."""
        self.api.delete_access_rule(rule.id, share.id)
        wait("the rule to go", lambda: rule.id not in [r.id for r in self.api.access_rules(share)])

    def export(self, share: Any) -> str:
        """Where clients find it."""
        return str(next(e.path for e in self.api.export_locations(share.id) if not e.is_admin))

    def remove(self, *shares: Any) -> None:
        """Delete shares; returns when they are gone."""
        for share in shares:
            self.api.delete_share(share.id)
        ids = {share.id for share in shares}
        wait("the shares to go", lambda: not ids & {s.id for s in self.api.shares()})

    # --- below the API ----------------------------------------------------------------------

    def _database(self) -> Database:
        return Database(f"sqlite:///{self.state / 'atoll.sqlite'}")

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What the cloud has on record: ``instances``, ``volumes``, ``snapshots``, …"""
        found = []
        for path in self.state.glob(f"local/*/{kind}/[!.]*/record.json"):
            try:
                found.append(json.loads(path.read_text()))
            except FileNotFoundError:
                continue
        return found

    def warm_servers(self) -> list[str]:
        """Ids of the share servers that could lend their instances now."""
        with closing(self._database()) as database, database.read() as connection:
            return [
                row["id"]
                for row in share_servers.where(connection, status=ServerStatus.ACTIVE)
                if row["share_network_subnet_id"] is None
            ]

    def silent_servers(self) -> list[str]:
        """Ids of the share servers that did not answer when they were last asked."""
        with closing(self._database()) as database, database.read() as connection:
            return [row["id"] for row in share_servers.where(connection) if row["unhealthy_since"]]

    def made(self) -> dict[str, int]:
        """How many things of each kind the cloud has."""
        kinds = ("instances", "volumes", "snapshots", "ports", "networks")
        return {kind: len(self.records(kind)) for kind in kinds}

    def call_its_image_old(self, share: Any) -> None:
        """Have the share's instance counted as one that booted an older image."""
        server_id = self.server(share)["server_id"]
        with closing(self._database()) as database, database.begin() as connection:
            server = share_servers.get(connection, server_id)
            assert server is not None
            details = server["backend_details"] | {"image_id": "an older one"}
            share_servers.change(connection, server_id, backend_details=details)

    def layers(self) -> list[str]:
        """The files that hold volumes' data."""
        return [path.name for path in self.state.glob("local/*/layers/*")]

    def interfaces(self) -> list[str]:
        """This deployment's bridges."""
        names = [path.name for path in Path("/sys/class/net").iterdir()]
        return [name for name in names if name.startswith(self._bridges)]

    def server(self, share: Any) -> dict[str, Any]:
        """The share server's details."""
        found = self.get("/share-servers")["share_servers"]
        subnets = {s["id"]: s for s in found}
        shown = self.get(f"/shares/{share.id}")["share"]
        server_id = shown["share_server_id"]
        details = self.get(f"/share-servers/{server_id}/details")["details"]
        return {**subnets[server_id], **details, "server_id": server_id}

    def qemu(self, server: dict[str, Any]) -> int:
        """Process id of a service instance."""
        run_dir = self.state / "local" / "daemon" / "run" / "qemu"
        return int((run_dir / f"atoll-{server['instance_id'][:8]}.pid").read_text())

    def inside(self, server: dict[str, Any], script: str, seconds: float = 120) -> str:
        """Run a script as root in a service instance, as the operator could."""
        storage = DatabaseStorage(self._database(), Seal.from_file(self.state / "secret.key"), None)
        owner = server_key(server["server_id"])
        keys = InstanceKeys(storage, StandIns(storage).keeper(owner))
        access = keys.access(server["username"], server["ip"])
        key, hosts = self.place / "key", self.place / "hosts"
        key.write_text(access.private_key.rstrip("\n") + "\n")
        key.chmod(0o600)
        hosts.write_text(f"instance {access.host_key_public.strip()}\n")
        argv = ["ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        argv += ["-o", f"UserKnownHostsFile={hosts}", "-o", "HostKeyAlias=instance"]
        argv += ["-o", "ServerAliveInterval=5", "-o", "ConnectTimeout=60"]
        argv += [f"{access.user}@{access.address}", "sudo -n sh -e"]
        done = subprocess.run(
            argv, input=script, capture_output=True, text=True, timeout=seconds, check=False
        )
        if done.returncode:
            raise CommandFailed(script, done.returncode, done.stdout + done.stderr)
        return done.stdout

    # --- the user's machine -----------------------------------------------------------------

    def boot_client(self, network: dict[str, Any] | None = None) -> ClientVm:
        """The client, booting where it wasn't there yet."""
        bridge = bridge_of((network or self.network())["neutron_net_id"])
        if self._client is not None and self._client.is_on and bridge == self._bridge:
            return self._client
        if self._client is not None:
            self._client.stop()
        self._client, self._bridge = ClientVm(self.place, self.image, bridge), bridge
        self._client.start()
        return self._client

    @property
    def client(self) -> ClientVm:
        """The client, once it answers."""
        client = self.boot_client()
        client.wait()
        return client


def refused(client: ClientVm, command: str, seconds: float = 60) -> str:
    """The last words of a command that must fail."""
    try:
        client.run(command, seconds=seconds)
    except CommandFailed as error:
        return ["", *error.output.strip().splitlines()][-1] or "refused"
    raise AssertionError(f"{command!r} was not refused")


def gib(client: ClientVm, where: str) -> float:
    """The size that a client sees."""
    block, blocks = client.run(f"stat -f -c '%S %b' {where}").split()
    return int(block) * int(blocks) / (1 << 30)
