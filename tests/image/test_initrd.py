"""The initrd, unpacked by the ordinary tools."""

from __future__ import annotations

import gzip
import lzma
import subprocess
from pathlib import Path

from atoll.image.initrd import Entry, build_initrd, cpio, module_closure
from tests.programs import need

KERNEL = "6.1.0-test"


def make_rootfs(folder: Path) -> Path:
    modules = folder / "usr/lib/modules" / KERNEL
    (modules / "kernel").mkdir(parents=True)
    (modules / "kernel/virtio.ko").write_bytes(b"virtio")
    (modules / "kernel/virtio_ring.ko").write_bytes(b"ring")
    (modules / "kernel/virtio_blk.ko.xz").write_bytes(lzma.compress(b"blk"))
    (modules / "kernel/virtio-rng.ko").write_bytes(b"rng")
    (modules / "modules.dep").write_text(
        "kernel/virtio.ko:\n"
        "kernel/virtio_ring.ko: kernel/virtio.ko\n"
        "kernel/virtio_blk.ko.xz: kernel/virtio_ring.ko kernel/virtio.ko\n"
        "kernel/virtio-rng.ko: kernel/virtio.ko\n"
    )
    (folder / "usr/bin").mkdir()
    (folder / "usr/bin/busybox").write_bytes(b"busybox")
    return folder


def test_dependencies_come_first_and_once(tmp_path: Path) -> None:
    tree = make_rootfs(tmp_path) / "usr/lib/modules" / KERNEL
    # ext4 is built into this kernel: passed over
    found = module_closure(tree, ["virtio_blk", "ext4", "virtio_rng"])
    assert [path.name for path in found] == [
        "virtio.ko",
        "virtio_ring.ko",
        "virtio_blk.ko.xz",
        "virtio-rng.ko",
    ]


def test_the_archive_is_one_that_cpio_reads(tmp_path: Path) -> None:
    need("cpio")
    output = tmp_path / "initrd"
    build_initrd(make_rootfs(tmp_path / "rootfs"), KERNEL, output)
    archive = gzip.decompress(output.read_bytes())
    target = tmp_path / "out"
    target.mkdir()
    subprocess.run(["cpio", "-i", "--quiet"], input=archive, cwd=target, check=True)
    assert (target / "lib/virtio_blk.ko").read_bytes() == b"blk"
    assert (target / "modules").read_text().splitlines()[0] == "/lib/virtio.ko"
    assert (target / "init").stat().st_mode & 0o111
    assert (target / "proc").is_dir()


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    rootfs = make_rootfs(tmp_path / "rootfs")
    for name in ("one", "two"):
        build_initrd(rootfs, KERNEL, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_records_are_aligned() -> None:
    assert len(cpio([Entry("abc", 0o100644, b"12345")])) % 4 == 0
