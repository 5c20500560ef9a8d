"""Turns a root file system into a bootable disk, without mounts and without root.

    sector 0      MBR with the boot code of syslinux, and the partition table
    partition 1   FAT: boot loader, kernel, initrd      (active)
    partition 2   ext4: root, found by its UUID

FAT is used because an ordinary user can install syslinux into a FAT image file; extlinux and grub
need a mounted file system.
"""

from __future__ import annotations

import os
from pathlib import Path

from atoll.image.commands import Runner
from atoll.image.recipe import EPOCH, FILES

MIB = 1024 * 1024
BOOT_MIB = 32
# The path of the boot code depends on the distribution.
BOOT_CODE = (Path("/usr/lib/syslinux/mbr/mbr.bin"), Path("/usr/lib/EXTLINUX/mbr.bin"))


def make_root(
    rootfs: Path, output: Path, *, uuid: str, size_mib: int, run: Runner, prefix: list[str]
) -> None:
    """Write an ext4 file system with the tree ``rootfs``. The UUID is also its hash seed.

    ``prefix`` precedes mke2fs, so that it sees root as the owner of the files.
    """
    output.unlink(missing_ok=True)
    with output.open("wb") as file:
        file.truncate(size_mib * MIB)
    run(
        [
            *(
                *prefix,
                "mke2fs",
                "-q",
                "-F",
                "-t",
                "ext4",
                "-b",
                "4096",
                "-m",
                "0",
                "-L",
                "atoll-root",
            ),
            *("-J", "size=8", "-U", uuid),
            # Tables are written now, or a running instance would write them in the background.
            *("-E", f"lazy_itable_init=0,lazy_journal_init=0,hash_seed={uuid},root_owner=0:0"),
            *("-d", str(rootfs), str(output)),
        ]
    )
    _fix_times(output, run)


def _fix_times(file_system: Path, run: Runner) -> None:
    """Set the times that mke2fs copies from the unpacked tree, for reproducible images."""
    counts: dict[str, int] = {}

    def on_line(line: str) -> None:
        key, _, value = line.partition(":")
        if key in ("Inode count", "Free inodes"):
            counts[key] = int(value)

    run(["dumpe2fs", "-h", str(file_system)], on_line=on_line)
    # mke2fs assigns inodes in order, from 11 on; 2 is the root directory.
    used = counts["Inode count"] - counts["Free inodes"]
    commands = (
        f"set_inode_field <{inode}> {field} @{EPOCH}\n"
        for inode in (2, *range(11, used + 1))
        for field in ("ctime", "atime")
    )
    run(["debugfs", "-w", "-f", "-", str(file_system)], stdin="".join(commands))


def make_boot(kernel: Path, initrd: Path, output: Path, *, root_uuid: str, run: Runner) -> None:
    """Write the FAT file system with boot loader, kernel and initrd."""
    config = output.with_name("syslinux.cfg")
    template = (FILES / "boot/syslinux.cfg").read_text()
    config.write_text(template.replace("ROOT_UUID", root_uuid))
    output.unlink(missing_ok=True)
    with output.open("wb") as file:
        file.truncate(BOOT_MIB * MIB)
    run(["mkfs.fat", "--invariant", "-F", "16", "-h", "2048", "-n", "ATOLLBOOT", str(output)])
    for source, name in ((config, "syslinux.cfg"), (kernel, "vmlinuz"), (initrd, "initrd")):
        os.utime(source, (EPOCH, EPOCH))
        run(["mcopy", "-m", "-i", str(output), str(source), f"::/{name}"])
    run(["syslinux", "--install", str(output)])


def assemble(boot: Path, root: Path, output: Path, *, disk_id: str, run: Runner) -> None:
    """Write MBR, partition table and both partitions into one raw disk image (sparse)."""
    root_mib = root.stat().st_size // MIB
    with output.open("wb") as file:
        file.truncate((1 + BOOT_MIB + root_mib + 1) * MIB)
    table = (
        f"label: dos\nlabel-id: {disk_id}\n"
        f"start=1MiB, size={BOOT_MIB}MiB, type=e, bootable\n"
        f"start={1 + BOOT_MIB}MiB, size={root_mib}MiB, type=83\n"
    )
    run(["sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", str(output)], stdin=table)
    code = next(path for path in BOOT_CODE if path.exists()).read_bytes()
    with output.open("r+b") as disk:
        disk.write(code[:440])
        for image, at_mib in ((boot, 1), (root, 1 + BOOT_MIB)):
            copy_sparse(image, disk.fileno(), at_mib * MIB)


def copy_sparse(source: Path, target: int, offset: int) -> None:
    """Copy a file's data without its holes."""
    with source.open("rb") as file:
        end = os.fstat(file.fileno()).st_size
        at = 0
        while at < end:
            try:
                start = os.lseek(file.fileno(), at, os.SEEK_DATA)
            except OSError:  # only a hole is left
                return
            at = os.lseek(file.fileno(), start, os.SEEK_HOLE)
            while start < at:
                chunk = os.pread(file.fileno(), min(MIB, at - start), start)
                os.pwrite(target, chunk, offset + start)
                start += len(chunk)


def compress(raw: Path, output: Path, *, run: Runner) -> None:
    """Write the disk as a qcow2 file with zstd compression."""
    run(
        [
            *("qemu-img", "convert", "-f", "raw", "-O", "qcow2", "-c", "-o"),
            "compression_type=zstd",
            *(str(raw), str(output)),
        ]
    )
