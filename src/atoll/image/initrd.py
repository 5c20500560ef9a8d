"""The service image's initrd: one static program, the virtio drivers and an ``init`` script.

Debian's own initrd would also work, but takes a slow guest six seconds of CPU at each boot. This
one has 2 MB. It is written here as a ``newc`` cpio archive, so that the same input gives the same
bytes.
"""

from __future__ import annotations

import gzip
import lzma
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

from atoll.image.recipe import FILES, lines_of


@dataclass(frozen=True, slots=True)
class Entry:
    """One file of the archive; a directory has no content."""

    name: str
    mode: int
    content: bytes = b""


def build_initrd(rootfs: Path, kernel: str, output: Path) -> None:
    """Write the initrd for the kernel release ``kernel`` of an unpacked root file system."""
    modules = module_closure(rootfs / "usr/lib/modules" / kernel, lines_of("boot/modules.txt"))
    entries = [
        Entry(name, stat.S_IFDIR | 0o755) for name in ("bin", "dev", "lib", "proc", "root", "sys")
    ]
    busybox = next(p for p in (rootfs / "usr/bin/busybox", rootfs / "bin/busybox") if p.exists())
    entries.append(Entry("bin/busybox", stat.S_IFREG | 0o755, busybox.read_bytes()))
    entries.append(Entry("init", stat.S_IFREG | 0o755, (FILES / "boot/init").read_bytes()))
    names = [f"lib/{plain_name(module)}" for module in modules]
    for name, module in zip(names, modules, strict=True):
        entries.append(Entry(name, stat.S_IFREG | 0o644, decompressed(module)))
    listing = "".join(f"/{name}\n" for name in names)
    entries.append(Entry("modules", stat.S_IFREG | 0o644, listing.encode()))
    output.write_bytes(gzip.compress(cpio(entries), compresslevel=9, mtime=0))


def module_closure(tree: Path, wanted: list[str]) -> list[Path]:
    """Files of the wanted modules and their dependencies, in the order to load them."""
    needs: dict[str, list[Path]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        target, _, dependencies = line.partition(":")
        # modules.dep names the nearest dependency first, which must be loaded last.
        chain = [*reversed(dependencies.split()), target]
        needs[canonical(Path(target))] = [tree / part for part in chain]
    ordered: dict[Path, None] = {}
    for name in wanted:
        ordered.update(dict.fromkeys(needs.get(canonical(Path(name)), [])))
    return list(ordered)


def canonical(path: Path) -> str:
    """A module's name in the kernel: ``virtio-rng.ko.xz`` is ``virtio_rng``."""
    return path.name.split(".")[0].replace("-", "_")


def plain_name(path: Path) -> str:
    """The file name without the suffix of a compression."""
    return path.name.split(".")[0] + ".ko"


def decompressed(path: Path) -> bytes:
    """A module's bytes. Files may be plain, or compressed by xz (Debian 13) or zstd (Ubuntu)."""
    match path.suffix:
        case ".xz":
            return lzma.decompress(path.read_bytes())
        case ".gz":
            return gzip.decompress(path.read_bytes())
        case ".zst":
            return subprocess.run(
                ["zstd", "-dc", str(path)], check=True, capture_output=True
            ).stdout
        case _:
            return path.read_bytes()


def cpio(entries: list[Entry]) -> bytes:
    """A ``newc`` archive, in which root owns all files, with times in 1970."""
    archive = bytearray()
    for inode, entry in enumerate([*entries, Entry("TRAILER!!!", 0)], start=1):
        name = entry.name.encode() + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        fields = (inode, entry.mode, 0, 0, links, 0, len(entry.content), 0, 0, 0, 0, len(name), 0)
        archive += b"070701" + b"".join(b"%08X" % value for value in fields) + name
        archive += b"\0" * (-len(archive) % 4)
        archive += entry.content
        archive += b"\0" * (-len(archive) % 4)
    return bytes(archive)
