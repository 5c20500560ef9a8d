"""Who gets in, and as whom: access rules, levels, squash modes, versions and protocols."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from demo.client import ClientVm
from tests.system.site import Site, gib, refused

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


@pytest.fixture(scope="module")
def client(site: Site) -> ClientVm:
    """The client, with the service instance booting meanwhile."""
    site.network()
    site.boot_client()
    site.remove(site.available(site.share("first")))
    return site.client


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
def made(site: Site, name: str, **options: Any) -> Iterator[Any]:
    share = site.available(site.share(name, **options))
    yield share
    site.remove(share)


def test_an_address_is_matched_exactly(
    site: Site, client: ClientVm, addresses: tuple[str, str]
) -> None:
    short, long = addresses
    with made(site, "exact") as share:
        export = site.export(share)
        assert is_refused(client, export, short)
        rule = site.allow(share, short)
        assert is_refused(client, export, long)
        assert is_refused(client, export, long, version="3")
        with mounted(client, export, short) as where:
            client.run(f"echo one > {where}/file")
        site.deny(share, rule)
        site.allow(share, long)
        assert is_refused(client, export, short)
        with mounted(client, export, long) as where:
            assert client.run(f"cat {where}/file") == "one\n"


def test_levels_and_ranges(site: Site, client: ClientVm, addresses: tuple[str, str]) -> None:
    writer, reader = addresses
    net = reader.rpartition(".")[0]
    with made(site, "levels") as share:
        export = site.export(share)
        site.allow(share, f"{net}.128/26", "ro")  # up to .191
        site.allow(share, writer, "rw")
        assert is_refused(client, export, client.address())
        with mounted(client, export, writer) as where:
            client.run(f"echo one > {where}/file")
        with mounted(client, export, reader) as where:
            assert client.run(f"cat {where}/file") == "one\n"
            assert "Read-only" in refused(client, f"touch {where}/new")
        site.allow(share, f"{net}.0/24", "ro")  # the narrower rule goes on counting
        with mounted(client, export, writer) as where:
            client.run(f"echo two >> {where}/file")
        with mounted(client, export, client.address()) as where:
            assert client.run(f"cat {where}/file") == "one\ntwo\n"
            assert "Read-only" in refused(client, f"touch {where}/new")


@pytest.mark.parametrize(("squash", "owner"), [("", "65534"), ("no_root_squash", "0")])
def test_whom_a_clients_root_arrives_as(
    site: Site, client: ClientVm, squash: str, owner: str
) -> None:
    options = {"metadata": {"atoll:squash": squash}} if squash else {}
    with made(site, "squash", **options) as share:
        export = site.export(share)
        site.allow(share, client.address())
        with mounted(client, export, client.address()) as where:
            client.run(f"echo one > {where}/file")
        path = export.partition(":")[2]
        assert site.inside(site.server(share), f"stat -c %u {path}/file").strip() == owner


def test_xfs_by_nfs_3(site: Site, client: ClientVm) -> None:
    with made(site, "xfs", metadata={"atoll:file_system": "xfs"}) as share:
        export = site.export(share)
        site.allow(share, client.address())
        with mounted(client, export, client.address(), "vers=3") as where:
            client.run(f"echo one > {where}/file && flock --nonblock {where}/file true")
            assert "vers=3" in client.run(f"findmnt -n -o OPTIONS {where}")
        path = export.partition(":")[2]
        server = site.server(share)
        assert site.inside(server, f"findmnt -n -o FSTYPE {path}; cat {path}/file") == "xfs\none\n"
        site.api.resize_share(share.id, 2)
        site.available(share)
        with mounted(client, export) as where:
            assert gib(client, where) > 1.8


def test_a_rule_taken_away_cuts_a_mounted_client(site: Site, client: ClientVm) -> None:
    with made(site, "cut") as share:
        export = site.export(share)
        rule = site.allow(share, client.address())
        with mounted(client, export, client.address()) as where:
            client.run(f"echo one > {where}/file; sync")
            site.deny(share, rule)
            client.run("echo 3 > /proc/sys/vm/drop_caches")
            assert refused(client, f"timeout 20 cat {where}/file")
            site.allow(share, client.address())
            assert client.run(f"cat {where}/file") == "one\n"


def test_smb(site: Site, client: ClientVm, addresses: tuple[str, str]) -> None:
    with made(site, "smb", share_protocol="CIFS") as share:
        _, _, host, name = site.export(share).split("\\")
        mount = f"mkdir -p /mnt/smb; mount -t cifs -o guest,vers=3.0 //{host}/{name} /mnt/smb"
        come_from(client, host, addresses[1])
        site.allow(share, addresses[0])
        assert refused(client, mount)
        come_from(client, host, addresses[0])
        client.run(mount)
        client.run("echo one > /mnt/smb/file")
        path = f"/shares/{share.id}"
        assert site.inside(site.server(share), f"cat {path}/file") == "one\n"
        client.run("umount /mnt/smb")
        read_only = site.api.create_access_rule(
            share.id, access_level="ro", access_type="ip", access_to=addresses[1]
        )
        seen = site.settled_rule(read_only)
        assert seen == "error"
        assert "rw" in next(site.api.user_messages()).user_message
