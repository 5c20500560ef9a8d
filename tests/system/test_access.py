"""Who gets in, and as whom: access rules, levels, squash modes, versions and protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from harness.client_vm import ClientVm
from tests.system.deployment import LibvirtDeployment, gib, refused

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


@pytest.fixture(scope="module")
def addresses(client: ClientVm) -> Iterator[tuple[str, str]]:
    """Two addresses of the client, of which one begins as the other."""
    net = client.address().rpartition(".")[0]
    both = (f"{net}.18", f"{net}.180")  # DHCP gives neither away before hundreds of ports are made
    for address in both:
        client.run(f"ip address replace {address}/24 dev eth1")
    yield both
    for address in both:
        client.run(f"ip address delete {address}/24 dev eth1")  # and its routes


def come_from(client: ClientVm, export: str, address: str) -> None:
    """Have the client's packets to the server carry this source address."""
    client.run(f"ip route replace {export.partition(':')[0]}/32 dev eth1 src {address}")


@contextmanager
def mounted(
    client: ClientVm, export: str, address: str = "", options: str = "vers=4.2"
) -> Iterator[str]:
    if address:
        come_from(client, export, address)
    where = "/mnt/share"
    client.run(f"mkdir -p {where} && mount -t nfs -o {options},hard {export} {where}")
    try:
        yield where
    finally:
        client.unmount(where)


def is_refused(client: ClientVm, export: str, address: str, version: str = "4.2") -> bool:
    come_from(client, export, address)
    words = refused(client, f"mkdir -p /mnt/no; mount -t nfs -o vers={version} {export} /mnt/no")
    return any(word in words for word in ("denied", "No such file", "not permitted"))


@contextmanager
def made(deployment: LibvirtDeployment, name: str, **options: Any) -> Iterator[Any]:
    share = deployment.available(deployment.share(name, **options))
    yield share
    deployment.remove(share)


def test_an_address_is_matched_exactly(
    deployment: LibvirtDeployment, client: ClientVm, addresses: tuple[str, str]
) -> None:
    short, long = addresses
    with made(deployment, "exact") as share:
        export = deployment.export(share)
        assert is_refused(client, export, short)
        rule = deployment.allow(share, short)
        assert is_refused(client, export, long)
        assert is_refused(client, export, long, version="3")
        with mounted(client, export, short) as where:
            client.run(f"echo one > {where}/file")
        deployment.deny(share, rule)
        deployment.allow(share, long)
        assert is_refused(client, export, short)
        with mounted(client, export, long) as where:
            assert client.run(f"cat {where}/file") == "one\n"


@pytest.mark.long
def test_levels_and_ranges(
    deployment: LibvirtDeployment, client: ClientVm, addresses: tuple[str, str]
) -> None:
    writer, reader = addresses
    net = reader.rpartition(".")[0]
    with made(deployment, "levels") as share:
        export = deployment.export(share)
        deployment.allow(share, f"{net}.128/26", "ro")  # up to .191
        deployment.allow(share, writer, "rw")
        assert is_refused(client, export, client.address())
        with mounted(client, export, writer) as where:
            client.run(f"echo one > {where}/file")
        with mounted(client, export, reader) as where:
            assert client.run(f"cat {where}/file") == "one\n"
            assert "Read-only" in refused(client, f"touch {where}/new")
        deployment.allow(share, f"{net}.0/24", "ro")  # the narrower rule goes on counting
        with mounted(client, export, writer) as where:
            client.run(f"echo two >> {where}/file")
        with mounted(client, export, client.address()) as where:
            assert client.run(f"cat {where}/file") == "one\ntwo\n"
            assert "Read-only" in refused(client, f"touch {where}/new")


@pytest.mark.parametrize(("squash", "owner"), [("", "65534"), ("no_root_squash", "0")])
def test_whom_a_clients_root_arrives_as(
    deployment: LibvirtDeployment, client: ClientVm, squash: str, owner: str
) -> None:
    options = {"metadata": {"atoll:squash": squash}} if squash else {}
    with made(deployment, "squash", **options) as share:
        export = deployment.export(share)
        deployment.allow(share, client.address())
        with mounted(client, export, client.address()) as where:
            client.run(f"echo one > {where}/file")
        path = export.partition(":")[2]
        assert (
            deployment.inside(deployment.server(share), f"stat -c %u {path}/file").strip() == owner
        )


@pytest.mark.long
def test_xfs_by_nfs_3(deployment: LibvirtDeployment, client: ClientVm) -> None:
    with made(deployment, "xfs", metadata={"atoll:file_system": "xfs"}) as share:
        export = deployment.export(share)
        deployment.allow(share, client.address())
        with mounted(client, export, client.address(), "vers=3") as where:
            client.run(f"echo one > {where}/file && flock --nonblock {where}/file true")
            assert "vers=3" in client.run(f"findmnt -n -o OPTIONS {where}")
        path = export.partition(":")[2]
        server = deployment.server(share)
        assert (
            deployment.inside(server, f"findmnt -n -o FSTYPE {path}; cat {path}/file")
            == "xfs\none\n"
        )
        deployment.api.resize_share(share.id, 2)
        deployment.available(share)
        with mounted(client, export) as where:
            assert gib(client, where) > 1.8


def test_a_rule_taken_away_cuts_a_mounted_client(
    deployment: LibvirtDeployment, client: ClientVm
) -> None:
    with made(deployment, "cut") as share:
        export = deployment.export(share)
        rule = deployment.allow(share, client.address())
        with mounted(client, export, client.address()) as where:
            client.run(f"echo one > {where}/file; sync")
            deployment.deny(share, rule)
            client.run("echo 3 > /proc/sys/vm/drop_caches")
            assert refused(client, f"timeout 20 cat {where}/file")
            deployment.allow(share, client.address())
            assert client.run(f"cat {where}/file") == "one\n"


def test_smb(deployment: LibvirtDeployment, client: ClientVm, addresses: tuple[str, str]) -> None:
    with made(deployment, "smb", share_protocol="CIFS") as share:
        _, _, host, name = deployment.export(share).split("\\")
        mount = f"mkdir -p /mnt/smb; mount -t cifs -o guest,vers=3.0 //{host}/{name} /mnt/smb"
        come_from(client, host, addresses[1])
        deployment.allow(share, addresses[0])
        assert refused(client, mount)
        come_from(client, host, addresses[0])
        client.run(mount)
        client.run("echo one > /mnt/smb/file")
        path = f"/shares/{share.id}"
        assert deployment.inside(deployment.server(share), f"cat {path}/file") == "one\n"
        client.run("umount /mnt/smb")
        read_only = deployment.api.create_access_rule(
            share.id, access_level="ro", access_type="ip", access_to=addresses[1]
        )
        seen = deployment.settled_rule(read_only)
        assert seen == "error"
        assert "rw" in next(deployment.api.user_messages()).user_message
