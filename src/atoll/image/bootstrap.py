"""Installs the service image's packages with mmdebstrap and unpacks the result.

Without root, mmdebstrap uses a user namespace, and fakeroot keeps the owners of files between
unpacking and mke2fs.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

from atoll.image.commands import Runner
from atoll.image.recipe import Recipe, apt_proxy_options, lines_of, rootfs_tar


class LogProgress:
    """The progress of mmdebstrap (0 to 1), derived from its output and that of apt and dpkg."""

    # Measured share of the time for downloads; the rest is unpacking and setting up.
    _DOWNLOAD = 0.25

    def __init__(self) -> None:
        self._announced = 0
        self._fetched = 0
        self._installed = 0

    def feed(self, line: str) -> float:
        """Process one line; return the fraction after it."""
        if found := re.match(r"\d+ upgraded, (\d+) newly installed", line):
            self._announced += int(found[1])
        elif re.match(r"Get:\d+ ", line):
            self._fetched += 1
        elif line.startswith(("Unpacking ", "Setting up ")):
            self._installed += 1
        # Essential packages are announced first; about twice as many follow.
        total = max(self._announced, 3 * self._announced if self._announced < 100 else 0, 1)
        fetched = min(1.0, self._fetched / total)
        installed = min(1.0, self._installed / (2 * total))
        return self._DOWNLOAD * max(fetched, installed) + (1 - self._DOWNLOAD) * installed


def bootstrap(
    recipe: Recipe, work: Path, run: Runner, report: Callable[[float], None]
) -> tuple[Path, int]:
    """Install all packages into a tree; return its path and the number of packages."""
    overlay = work / "overlay.tar"
    overlay.write_bytes(rootfs_tar())
    archive = work / "rootfs.tar"
    log_progress = LogProgress()
    highest = 0.0

    def on_line(line: str) -> None:
        nonlocal highest
        highest = max(highest, log_progress.feed(line))
        report(highest)

    as_root = os.geteuid() == 0
    run(
        [
            # Its mounts disappear with the namespace, even if it is killed.
            *(("unshare", "--mount", "--propagation", "private") if as_root else ()),
            "mmdebstrap",
            "--verbose",
            f"--mode={'root' if as_root else 'unshare'}",
            "--variant=essential",
            "--format=tar",
            f"--include={','.join(recipe.packages)}",
            '--aptopt=APT::Install-Recommends "false"',
            '--aptopt=Acquire::Retries "3"',
            *apt_proxy_options(),
            "--dpkgopt=force-unsafe-io",
            *(f"--dpkgopt=path-exclude={path}" for path in lines_of("dpkg-excludes.txt")),
            f"--customize-hook=tar-in {overlay} /",
            '--customize-hook=chroot "$1" sh /customize.sh && rm "$1/customize.sh"',
            recipe.suite,
            str(archive),
            *recipe.sources,
        ],
        name="mmdebstrap",
        on_line=on_line,
    )
    rootfs = work / "rootfs"
    rootfs.mkdir(mode=0o755)
    run(
        [
            *as_owner(work, first=True),
            *("tar", "-x", "--numeric-owner", "--xattrs", "--xattrs-include=*"),
            *("--exclude=./dev/*", "-C", str(rootfs), "-f", str(archive)),
        ]
    )
    archive.unlink()
    status = (rootfs / "var/lib/dpkg/status").read_text(errors="replace")
    return rootfs, len(re.findall(r"^Status: install ok installed", status, re.MULTILINE))


def as_owner(work: Path, *, first: bool = False) -> list[str]:
    """A prefix for programs that must see (or with ``first``, make) files owned by root."""
    if os.geteuid() == 0:
        return []
    state = str(work / "fakeroot.state")
    return ["fakeroot", *([] if first else ["-i", state]), "-s", state, "--"]
