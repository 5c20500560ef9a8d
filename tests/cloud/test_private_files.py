"""What lies in the state directory is nobody else's to read, though QEMU passes through it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from uuid import uuid4

import pytest

from atoll.cloud.local import LocalCloud, LocalSettings
from atoll.cloud.local.compute import InstanceRecord
from atoll.cloud.local.connection import QemuUser
from atoll.cloud.local.images import LocalImages
from atoll.cloud.local.layers import Layers
from atoll.cloud.memory import MemoryCloud
from atoll.db.database import Database
from atoll.db.migrations import upgrade
from atoll.guest.private_file import new_stem
from atoll.image.seed import seed_iso
from atoll.lifecycle.seal import open_seal
from tests.programs import need

pytestmark = pytest.mark.root  # only root can become another user
NOBODY, QEMU = 65534, QemuUser(64055, 64055)
LOOK = """
import os, sys
group = int(sys.argv[1])
os.setgroups([])
os.setgid(group)
os.setuid(group)
for path in sys.argv[3:]:
    try:
        os.close(os.open(path, os.O_RDWR if sys.argv[2] == "write" else os.O_RDONLY))
    except OSError:
        continue
    print(path)
"""


@pytest.fixture
def state() -> Iterator[Path]:
    """A state directory that everybody can pass through, as the first start makes it."""
    need("qemu-img")
    directory = Path(tempfile.mkdtemp(prefix="atoll-private-", dir="/var/tmp"))
    directory.chmod(0o711)
    before = os.umask(0o022)
    yield directory
    os.umask(before)
    shutil.rmtree(directory)


def opened(user: int, paths: list[Path], how: str = "read") -> set[Path]:
    """Those of the files that this user can open."""
    argv = [sys.executable, "-I", "-S", "-c", LOOK, str(user), how, *map(str, paths)]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    return {Path(line) for line in done.stdout.splitlines()}


def files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def an_instance(directory: Path) -> tuple[Path, Path]:
    """A root disk on an image, as a first start of an instance makes it; and that image."""
    source = directory.with_name("source.qcow2")
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(source), "1M"], check=True)
    images = LocalImages(directory.parents[1] / "images", source, lambda: QEMU)
    image = images.service_image()
    root = directory / "root.qcow2"
    images.make_root(image.id, root)
    source.unlink()
    return root, images.path(image.id)


def a_seed(directory: Path) -> None:
    seed_iso(
        directory / "seed.iso",
        instance_id="1",
        user="atoll",
        authorized_key="ssh-ed25519 AAAA",
        host_key="secret",
        host_key_public="ssh-ed25519 AAAA",
        hostname="one",
    )


def test_nobody_else_opens_a_file_of_the_cloud_local(state: Path) -> None:
    need("xorriso")
    settings = LocalSettings(state)
    with closing(LocalCloud("test", settings)) as cloud:
        cloud.place()
        record = cloud.compute.records.find_or_create(
            lambda _: False,
            lambda: InstanceRecord(str(uuid4()), "share_server/1", "one", "", (), 1, 512),
        )
        instance = cloud.compute.records.path(record.id)
        root, image = an_instance(instance)
        a_seed(instance)
        layers = Layers(cloud.directory / "layers", lambda: QEMU)
        layers.create("below", 1)
        layers.create("above", 1, base="below")
        key = new_stem(cloud.directory / "channels")
        descriptor = os.open(cloud.directory / "channels" / f"{key}.key", os.O_CREAT, 0o600)
        os.close(descriptor)
    assert len(files(state)) > 6
    assert opened(NOBODY, files(state)) == {image}  # it is public: Atoll's packages, and no key
    disks = [root, layers.path("below"), layers.path("above")]
    assert opened(QEMU.uid, disks, "write") == set(disks)
    assert opened(QEMU.uid, [image]) == {image}


@pytest.mark.parametrize("name", ["root.qcow2", "seed.iso", "console.log"])
def test_files_that_an_older_version_left_open_are_shut(state: Path, name: str) -> None:
    settings = LocalSettings(state)
    with closing(LocalCloud("test", settings)) as cloud:
        record = cloud.compute.records.find_or_create(
            lambda _: False,
            lambda: InstanceRecord(str(uuid4()), "share_server/1", "one", "", (), 1, 512),
        )
        file = cloud.compute.records.path(record.id) / name
    file.write_bytes(b"key")
    file.chmod(0o644)
    assert opened(NOBODY, [file]) == {file}
    LocalCloud("test", settings).close()
    assert opened(NOBODY, [file]) == set()


def test_nobody_else_opens_the_database_or_the_secrets(state: Path) -> None:
    database = Database(f"sqlite:///{state}/atoll.sqlite")
    upgrade(database)
    open_seal(state / "secret.key", database)
    database.keep_reserve()
    with database.read():
        assert len(files(state)) > 3
        assert opened(NOBODY, files(state)) == set()
    database.close()


def test_nobody_else_opens_a_simulated_world(state: Path) -> None:
    world = state / "memory-cloud.sqlite"
    world.touch(mode=0o644)  # as an older version made it
    with closing(MemoryCloud("test", path=world)):
        assert {path.name for path in files(state)} >= {world.name, f"{world.name}-wal"}
        assert opened(NOBODY, files(state)) == set()
