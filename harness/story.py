"""What a user does with shares, through the public API with the OpenStack SDK."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any, Protocol

import openstack
from openstack.shared_file_system.v2._proxy import Proxy

from harness.machine import CommandFailed, Machine
from harness.steps import Steps, check
from harness.wait import wait

MICROVERSION = "2.51"
LONGEST_STALL = 5.0
"""Seconds that one write of the client may wait while its share is extended."""


def connect(endpoint: str, token: str, microversion: str | None = MICROVERSION) -> Proxy:
    """The SDK, with a bearer token instead of Keystone.

    Without ``microversion``, the SDK negotiates one for each kind of request.
    """
    version: dict[str, Any] = {}
    if microversion is not None:
        version["shared_file_system_default_microversion"] = microversion
    connection = openstack.connect(
        load_yaml_config=False,  # who runs this may be logged in to a cloud
        load_envvars=False,
        auth_type="admin_token",
        auth={"endpoint": endpoint, "token": token},
        shared_file_system_endpoint_override=endpoint,
        **version,
    )
    proxy: Proxy = connection.shared_file_system
    return proxy


class User(Protocol):
    """What a user has before there are shares: a network, and a machine in it."""

    def share_network(self, shares: Proxy) -> tuple[str, str]:
        """The id of the share network, empty if shares need none, and a description of it."""

    def boot_client(self) -> Machine:
        """Start the machine."""


class Story:
    """The story of one user. Each method is a step, in the order of ``run``."""

    def __init__(self, shares: Proxy, steps: Steps, user: User, data_mib: int = 64) -> None:
        self._shares = shares
        self._steps = steps
        self._user = user
        self._data_mib = data_mib
        self._checksum = ""

    def run(self) -> None:
        """Run all steps."""
        network_id = self.share_network()
        client = self._user.boot_client()
        share = self.create_share(network_id)
        rule = self.allow(client, share)
        self.write(client, share)
        snapshot = self.snapshot(share)
        self.extend(client, share)
        copy = self.from_snapshot(client, network_id, snapshot)
        self.deny(client, share, rule)
        self.delete(client, copy, snapshot, share, network_id)

    # --- steps ----------------------------------------------------------------------------

    def share_network(self) -> str:
        """Get the share network; the id is empty if shares need none."""
        with self._steps.step("share network") as step:
            network_id, step.detail = self._user.share_network(self._shares)
            return network_id

    def create_share(self, network_id: str) -> Any:
        """Create an NFS share of 1 GiB."""
        with self._steps.step("1 GiB NFS share") as step:
            share = self._shares.create_share(
                name="demo", share_protocol="NFS", size=1, **_on(network_id)
            )
            share = self._available(share.id)
            step.detail = self._export(share)
            return share

    def allow(self, client: Machine, share: Any) -> Any:
        """Allow access for the client only."""
        with self._steps.step("client boots"):
            client.wait()
        with self._steps.step("access rule for the client") as step:
            address = client.address()
            rule = self._shares.create_access_rule(
                share.id, access_level="rw", access_type="ip", access_to=address
            )
            self._rule_active(rule.id)
            step.detail = f"ip {address} rw"
            return rule

    def write(self, client: Machine, share: Any) -> None:
        """Mount the share, write to it, and compute a checksum."""
        with self._steps.step("client mounts, writes and checksums") as step:
            client.mount(self._export(share), "/mnt/share")
            client.run(
                f"dd if=/dev/urandom of=/mnt/share/data bs=1M count={self._data_mib} conv=fsync"
            )
            self._checksum = self._sum(client, "/mnt/share/data")
            kind = client.run("findmnt -n -o FSTYPE,OPTIONS /mnt/share").split(",")
            version = next(word for word in kind if word.startswith("vers="))
            step.detail = f"{self._data_mib} MiB, nfs {version}, sha256 {self._checksum[:12]}…"

    def snapshot(self, share: Any) -> Any:
        """Take a snapshot of the mounted share."""
        with self._steps.step("snapshot"):
            snapshot = self._shares.create_share_snapshot(share_id=share.id, name="demo")

            def ready() -> bool:
                status = self._shares.get_share_snapshot(snapshot.id).status
                check(status != "error", "the snapshot ended in error")
                return bool(status == "available")

            wait("the snapshot", ready)
            return snapshot

    def extend(self, client: Machine, share: Any) -> None:
        """Extend the share from 1 to 2 GiB while the client writes continuously."""
        with self._steps.step("extend to 2 GiB while the client writes") as step:
            client.put(Path(__file__).with_name("writer.py"), "/tmp/writer.py")
            client.run(
                "rm -f /tmp/stop; nohup python3 /tmp/writer.py /mnt/share/stream /tmp/stop "
                "> /tmp/writer.json 2>&1 &"
            )
            time.sleep(2)
            before = self._size(client, "/mnt/share")
            self._shares.resize_share(share.id, 2)
            self._available(share.id)
            wait(
                "the client to see the new size", lambda: self._size(client, "/mnt/share") > before
            )
            time.sleep(1)
            client.run(
                "touch /tmp/stop; while pgrep -f '[w]riter.py' > /dev/null; do sleep 1; done"
            )
            seen = json.loads(client.run("cat /tmp/writer.json"))
            check(seen["errors"] == 0, f"the client met {seen['errors']} errors: {seen['last']}")
            check(seen["writes"] > 0, "the client wrote nothing")
            check(seen["longest"] < LONGEST_STALL, f"a write waited {seen['longest']:.1f} s")
            check(self._sum(client, "/mnt/share/data") == self._checksum, "the data has changed")
            step.detail = f"{seen['writes']} writes, no error, longest wait {seen['longest']:.2f} s"

    def from_snapshot(self, client: Machine, network_id: str, snapshot: Any) -> Any:
        """Create a larger share from the snapshot, and check its data and size."""
        with self._steps.step("3 GiB share from the snapshot") as step:
            copy = self._shares.create_share(
                name="demo-copy",
                share_protocol="NFS",
                size=3,
                snapshot_id=snapshot.id,
                **_on(network_id),
            )
            copy = self._available(copy.id)
            rule = self._shares.create_access_rule(
                copy.id, access_level="ro", access_type="ip", access_to=client.address()
            )
            self._rule_active(rule.id)
            client.mount(self._export(copy), "/mnt/copy")
            check(self._sum(client, "/mnt/copy/data") == self._checksum, "the copy's data differs")
            gib = self._size(client, "/mnt/copy") / 2**30
            check(gib > 2.7, f"the copy shows {gib:.2f} GiB instead of 3")
            check(
                self._refused(client, "touch /mnt/copy/new"),
                "a read-only rule let the client write",
            )
            step.detail = f"checksum equal, {gib:.2f} GiB seen, a write refused"
            client.unmount("/mnt/copy")
            return copy

    def deny(self, client: Machine, share: Any, rule: Any) -> None:
        """Deny access: the mounted client and a new mount are refused."""
        with self._steps.step("access denied, the client is refused") as step:
            self._shares.delete_access_rule(rule.id, share.id)

            def gone() -> bool:
                rules = list(self._shares.access_rules(share))
                check(all(r.state != "error" for r in rules), "the rule ended in error")
                return rule.id not in [r.id for r in rules]

            wait("the access rule to go", gone)
            refusal = self._refused(client, "timeout 20 ls /mnt/share")
            check(refusal, "a client without access still reads the share")
            step.detail = refusal
            client.unmount("/mnt/share")
            mount = f"mount -t nfs -o vers=4.2 {self._export(share)} /mnt/share"
            check(self._refused(client, mount), "a client without access could mount the share")

    def delete(
        self, client: Machine, copy: Any, snapshot: Any, share: Any, network_id: str
    ) -> None:
        """Delete everything that the user has made, in an order that all storage accepts.

        A share from a snapshot may depend on the snapshot (Ceph), so it is deleted first.
        """
        with self._steps.step("everything deleted"):
            self._delete_share(copy)
            self._shares.delete_share_snapshot(snapshot.id)
            wait("the snapshot to go", lambda: not list(self._shares.share_snapshots()))
            self._delete_share(share)
            client.stop()
            if network_id:
                self._remove_network(network_id)

    def _delete_share(self, share: Any) -> None:
        self._shares.delete_share(share.id)

        def gone() -> bool:
            left = {each.id: each.status for each in self._shares.shares()}
            check(left.get(share.id) != "error_deleting", "the share can't be deleted")
            return share.id not in left

        wait("the share to go", gone)

    def _remove_network(self, network_id: str) -> None:
        self._shares.delete_share_network(network_id)

        def servers_gone() -> bool:
            answer = self._shares.get("/share-servers", microversion=MICROVERSION)
            return not answer.json()["share_servers"]

        wait("the share server to go", servers_gone)

        def network_gone() -> bool:
            return network_id not in [each.id for each in self._shares.share_networks()]

        wait("the share network to go", network_gone)

    # --- helpers --------------------------------------------------------------------------

    def _available(self, share_id: str) -> Any:
        def ready() -> Any:
            share = self._shares.get_share(share_id)
            if "error" in share.status:
                messages = [m.user_message for m in self._shares.user_messages()]
                check(False, f"the share ended in {share.status}: {messages}")
            return share if share.status == "available" else None

        return wait("the share to become available", ready)

    def _rule_active(self, rule_id: str) -> None:
        def active() -> bool:
            state = self._shares.get_access_rule(rule_id).state
            check(state != "error", "the access rule ended in error")
            return bool(state == "active")

        wait("the access rule to become active", active, 60)

    def _export(self, share: Any) -> str:
        locations = list(self._shares.export_locations(share.id))
        check(locations, "the share has no export location")
        return str(next(e.path for e in locations if not e.is_admin))

    @staticmethod
    def _refused(client: Machine, command: str) -> str:
        """The last line of output of a command that must fail; empty if it does not fail."""
        try:
            client.run(command)
        except CommandFailed as error:
            return ["refused", *error.output.strip().splitlines()][-1]
        return ""

    @staticmethod
    def _sum(client: Machine, path: str) -> str:
        # The client's cache is dropped, so that the data is read from the server.
        client.run("echo 3 > /proc/sys/vm/drop_caches")
        return client.run(f"sha256sum {path}").split()[0]

    @staticmethod
    def _size(client: Machine, where: str) -> int:
        block, blocks = client.run(f"stat -f -c '%S %b' {where}").split()
        return int(block) * int(blocks)


def _on(network_id: str) -> dict[str, str]:
    """The argument for the share network, if there is one."""
    return {"share_network_id": network_id} if network_id else {}
