"""The instance's own programs, on files instead of devices and the kernel's tables."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from types import ModuleType

import pytest

from atoll.image.recipe import FILES


def program(name: str) -> ModuleType:
    loader = importlib.machinery.SourceFileLoader(
        name.replace("-", "_"), str(FILES / "rootfs/usr/lib/atoll" / name)
    )
    spec = importlib.util.spec_from_loader(loader.name, loader)
    assert spec is not None
    module = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def pci_device(devices: Path, vendor: str, device: str) -> Path:
    folder = devices / f"0000:00:{len(list(devices.iterdir())):02x}.0"
    folder.mkdir()
    for name, text in (("vendor", vendor), ("device", device), ("enable", "0")):
        (folder / name).write_text(f"{text}\n")
    (folder / "resource0").write_bytes(bytes(16))
    (folder / "config").write_bytes(bytes(256))
    return folder


def test_the_watchdog_is_set_fed_and_switched_off(tmp_path: Path) -> None:
    watchdogs = program("atoll-watchdog")
    pci_device(tmp_path, "0x1af4", "0x1001")
    folder = pci_device(tmp_path, "0x8086", "0x25ab")
    found = watchdogs.find(str(tmp_path))
    assert (folder / "enable").read_text() == "1"
    found.start()
    timers = struct.unpack("<II", (folder / "resource0").read_bytes()[:8])
    assert sum(timers) == 1024 * watchdogs.SECONDS  # milliseconds, nearly
    assert (folder / "config").read_bytes()[0x68] & 2
    (folder / "resource0").write_bytes(bytes(16))
    found.feed()
    assert (folder / "resource0").read_bytes()[0x0C:0x0E] == b"\x00\x01"
    found.stop()
    assert not (folder / "config").read_bytes()[0x68] & 2


def test_a_watchdog_that_a_driver_has_is_left_alone(tmp_path: Path) -> None:
    folder = pci_device(tmp_path, "0x8086", "0x25ab")
    (folder / "driver").mkdir()
    assert program("atoll-watchdog").find(str(tmp_path)) is None
    assert (folder / "enable").read_text() == "0\n"


def test_only_sockets_that_listen_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register = program("atoll-register")
    monkeypatch.setattr(register, "NET", tmp_path)
    lines = ["sl local rem st", "0: 00000000:0801 0:0 0A", "1: 0100007F:4E50 0:0 01"]
    (tmp_path / "tcp").write_text("\n".join(lines) + "\n")
    (tmp_path / "udp6").write_text(f"sl local rem st\n0: {'0' * 32}:8023 0:0 07\n")
    assert register.listening("tcp") == {2049}
    assert register.listening("udp6") == {32803}


def test_a_registration_is_one_record_in_xdr() -> None:
    record = program("atoll-register").request(7, 100003, 3, "tcp", 2049)
    (mark,) = struct.unpack_from(">I", record)
    assert mark == 1 << 31 | len(record) - 4
    assert struct.unpack_from(">6I", record, 4) == (7, 0, 2, 100000, 4, 1)
    assert struct.unpack_from(">2I", record, 44) == (100003, 3)
    assert record[52:] == b"\0\0\0\x03tcp\0\0\0\0\x0b0.0.0.0.8.1\0\0\0\0\0"


INFO = """\
clientid: 0xe05a2b4f67282d11
address: "10.84.0.193:806"
status: {status}
seconds from last renew: 3
name: "Linux NFSv4.0 client\\x22one\\x22"
minor version: {minor}
"""
NAME = b'Linux NFSv4.0 client"one"'


def recorded(folder: Path, epoch: int) -> set[bytes]:
    with closing(sqlite3.connect(folder / "main.sqlite")) as database:
        return {row[0] for row in database.execute(f'SELECT id FROM "rec-{epoch:016x}"')}


@pytest.mark.parametrize(
    ("status", "minor", "name"),
    [
        ("confirmed", 0, NAME),
        ("courtesy", 0, NAME),
        ("unconfirmed", 0, None),
        ("confirmed", 1, None),
    ],
)
def test_clients_of_nfs_4_0_are_told_from_others(
    status: str, minor: int, name: bytes | None
) -> None:
    info = INFO.format(status=status, minor=minor)
    assert program("atoll-nfs-clients").name_of(info) == name


def test_clients_that_have_reclaimed_may_do_so_after_the_next_restart(tmp_path: Path) -> None:
    clients = program("atoll-nfs-clients")
    clients.record(str(tmp_path), {NAME})  # there is no database yet
    with closing(sqlite3.connect(tmp_path / "main.sqlite")) as database:
        database.executescript(
            "CREATE TABLE grace (current INTEGER, recovery INTEGER);"
            "INSERT INTO grace VALUES (26, 25);"
            'CREATE TABLE "rec-000000000000001a" (id BLOB PRIMARY KEY, princhash BLOB);'
            'CREATE TABLE "rec-000000000000001b" (id BLOB PRIMARY KEY, princhash BLOB);'
            "INSERT INTO \"rec-000000000000001a\" (id) VALUES (X'6b');"
        )
    for _ in range(2):
        clients.record(str(tmp_path), {NAME, b"k"})
        assert recorded(tmp_path, 26) == {b"k", NAME}
    # What the kernel has had recorded, it has removed as well.
    clients.record(str(tmp_path), set())
    assert recorded(tmp_path, 26) == {b"k"}
    clients.record(str(tmp_path), {NAME})
    with closing(sqlite3.connect(tmp_path / "main.sqlite")) as database, database:
        database.execute("UPDATE grace SET current = 27, recovery = 26")
    clients.record(str(tmp_path), {NAME})
    assert recorded(tmp_path, 27) == {NAME}
