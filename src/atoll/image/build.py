"""Builds the service image, or finds the image of an earlier build with the same inputs.

    cache_dir/atoll-service-<suite>-<key>.json          facts about the image, written last
    cache_dir/atoll-service-<suite>-<checksum>.qcow2    the image, which is never changed
    cache_dir/build-*                                   a running or killed build

The image is named by its content, because disks of running instances may be overlays of it. A
forced build makes a new file and keeps the old one (for a month).
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from atoll.errors import ImageBuildFailed
from atoll.image import disk
from atoll.image.bootstrap import as_owner, bootstrap
from atoll.image.commands import Runner, check_requirements
from atoll.image.initrd import build_initrd
from atoll.image.recipe import EPOCH, Recipe, make_recipe

Progress = Callable[[str, float | None], None]
"""A function of the phase, and of the total progress from 0 to 1, or None if it is unknown."""

# Images older than this are deleted when a new one is built.
_KEEP_SECONDS = 30 * 86400

# Free space in the root file system, which instances may write to.
_FREE_MIB = 200


@dataclass(frozen=True, slots=True)
class BuiltImage:
    """A finished service image."""

    path: Path
    checksum: str
    """SHA-256 of the file, in hexadecimal."""
    key: str
    """Hash of the inputs that it was built from."""
    suite: str
    size_bytes: int
    """Size of the file; the size of the disk is ``virtual_size_bytes``."""
    virtual_size_bytes: int
    root_bytes: int
    """Size of the files in it."""
    package_count: int
    build_seconds: float
    cached: bool = False
    """Whether the image was found in the cache."""


def _no_progress(_phase: str, _fraction: float | None) -> None:
    return


def build_image(
    cache_dir: Path,
    *,
    progress: Progress = _no_progress,
    suite: str | None = None,
    sources: Sequence[str] | None = None,
    force: bool = False,
) -> BuiltImage:
    """Build the service image, which takes one to two minutes, or return the cached one.

    If they are None, ``suite`` and ``sources`` (one-line apt sources) are this machine's own.
    ``force`` builds it again, because the cache's key does not cover security updates of packages.
    Raises ``ConfigurationError`` (missing programs or sources) and ``ImageBuildFailed``.
    """
    recipe = make_recipe(suite, sources)
    cache_dir = cache_dir.absolute()
    if not force and (found := find_image(cache_dir, recipe)):
        progress("cached", 1.0)
        return found
    check_requirements()
    cache_dir.mkdir(parents=True, exist_ok=True)
    with _locked(cache_dir, progress):
        # Another process may have built it meanwhile.
        if not force and (found := find_image(cache_dir, recipe)):
            progress("cached", 1.0)
            return found
        for left_behind in cache_dir.glob("build-*"):
            _remove(left_behind)
        work = Path(tempfile.mkdtemp(prefix="build-", dir=cache_dir))
        try:
            return _publish(_build(recipe, work, progress), cache_dir, recipe)
        finally:
            _remove(work)


def _remove(work: Path) -> None:
    """Unmount what is mounted in a build's folder, and remove the folder.

    Older versions ran mmdebstrap in the machine's mount namespace. If it was killed, the machine's
    own /dev, /proc and /sys are still mounted there. Raises ``ImageBuildFailed`` if they can't be
    unmounted.
    """
    work = work.resolve()  # mountinfo has no symbolic links
    lines = Path("/proc/self/mountinfo").read_text().splitlines()
    places = (line.split()[4].replace("\\040", " ") for line in lines)
    for place in sorted((p for p in places if Path(p).is_relative_to(work)), reverse=True):
        done = subprocess.run(["umount", place], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ImageBuildFailed(
                f"{place} was mounted by a killed build, and can't be unmounted:"
                f" {done.stderr.strip()}",
                hint="Unmount it before you remove the folder: it shows this machine's own files.",
            )
    shutil.rmtree(work, ignore_errors=True)


def find_image(cache_dir: Path, recipe: Recipe | None = None) -> BuiltImage | None:
    """The cached image of a recipe, or of this machine's own recipe; None if there is none."""
    recipe = recipe or make_recipe()
    try:
        known = json.loads(_facts_path(cache_dir, recipe).read_text())
        path = cache_dir.absolute() / known.pop("file")
        if path.stat().st_size != known["size_bytes"]:
            return None
        return BuiltImage(path=path, cached=True, **known)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _facts_path(cache_dir: Path, recipe: Recipe) -> Path:
    return cache_dir / f"atoll-service-{recipe.suite}-{recipe.key}.json"


@contextmanager
def _locked(cache_dir: Path, progress: Progress) -> Iterator[None]:
    """Hold the lock for builds. If another build has it, report that to ``progress``, and wait."""
    with (cache_dir / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            progress("waiting for another build", None)
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build(recipe: Recipe, work: Path, progress: Progress) -> BuiltImage:
    started = time.monotonic()
    # A process in a user namespace can't enter a private home folder.
    scratch = work if os.geteuid() == 0 else Path(tempfile.gettempdir())
    run = Runner(work / "build.log", scratch)

    progress("installing packages", 0.0)
    rootfs, package_count = bootstrap(
        recipe, work, run, lambda part: progress("installing packages", 0.75 * part)
    )
    progress("initrd", 0.78)
    vmlinuz, release = _take_kernel(rootfs, work)
    build_initrd(rootfs, release, work / "initrd")

    progress("root file system", 0.8)
    root_bytes = _tree_bytes(rootfs)
    size_mib = root_bytes // disk.MIB + _FREE_MIB
    disk.make_root(
        rootfs,
        work / "root.ext4",
        uuid=recipe.root_uuid,
        size_mib=size_mib,
        run=run,
        prefix=as_owner(work),
    )
    progress("boot loader", 0.86)
    disk.make_boot(vmlinuz, work / "initrd", work / "boot.fat", root_uuid=recipe.root_uuid, run=run)
    raw = work / "disk.raw"
    disk.assemble(
        work / "boot.fat", work / "root.ext4", raw, disk_id=f"0x{recipe.key[:8]}", run=run
    )
    progress("compressing", 0.88)
    image = work / "image.qcow2"
    disk.compress(raw, image, run=run)
    progress("checksum", 0.97)
    with image.open("rb") as file:
        checksum = hashlib.file_digest(file, "sha256").hexdigest()
        os.fsync(file.fileno())
    return BuiltImage(
        path=image,
        checksum=checksum,
        key=recipe.key,
        suite=recipe.suite,
        size_bytes=image.stat().st_size,
        virtual_size_bytes=raw.stat().st_size,
        root_bytes=root_bytes,
        package_count=package_count,
        build_seconds=round(time.monotonic() - started, 1),
    )


def _take_kernel(rootfs: Path, work: Path) -> tuple[Path, str]:
    """Move the kernel out of the tree, and empty ``/boot``; return the file and its release."""
    boot = rootfs / "boot"
    kernel = next(boot.glob("vmlinuz-*"))
    vmlinuz = kernel.rename(work / "vmlinuz")
    for leftover in boot.iterdir():
        leftover.unlink()
    os.utime(boot, (EPOCH, EPOCH))
    return vmlinuz, kernel.name.removeprefix("vmlinuz-")


def _publish(built: BuiltImage, cache_dir: Path, recipe: Recipe) -> BuiltImage:
    """Move the image to the cache, then the facts, which show that the image is complete."""
    path = cache_dir / f"atoll-service-{recipe.suite}-{built.checksum[:16]}.qcow2"
    known = {key: value for key, value in asdict(built).items() if key not in ("path", "cached")}
    facts = built.path.with_suffix(".json")
    facts.write_text(json.dumps({"file": path.name, **known}, indent=2) + "\n")
    built.path.chmod(0o644)
    built.path.rename(path)
    facts.rename(_facts_path(cache_dir, recipe))
    for old in cache_dir.glob("atoll-service-*"):
        if old.stat().st_mtime < time.time() - _KEEP_SECONDS:
            old.unlink()
    return replace(built, path=path)


def _tree_bytes(tree: Path) -> int:
    """Bytes that a tree needs in a file system with blocks of 4 KiB."""
    total = 0
    for folder, names, files in os.walk(tree):
        total += 4096 * (1 + len(names))
        for name in files:
            total += -(-os.lstat(os.path.join(folder, name)).st_size // 4096) * 4096  # noqa: PTH118
    return total
