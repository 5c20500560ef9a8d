"""Runs the programs that build an image; their output goes to a log, whose end is in errors.

It also lists the programs that are needed, and their apt packages.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from atoll.errors import ConfigurationError, ImageBuildFailed
from atoll.image.recipe import EPOCH, FILES

# Apt packages of Debian and Ubuntu by program.
_PROGRAMS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "mkfs.fat": "dosfstools",
    "mcopy": "mtools",
    "syslinux": "syslinux",
    "sfdisk": "fdisk",
    "qemu-img": "qemu-utils",
    "tar": "tar",
    "zstd": "zstd",
    "xorriso": "xorriso",
}
_WITHOUT_ROOT = {"fakeroot": "fakeroot", "newuidmap": "uidmap"}
# System programs that an ordinary user's PATH may lack.
_SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin"

_LAST_LINES = 15


def list_requirements() -> list[str]:
    """The apt packages that a build needs on this machine."""
    packages = {*_needed_programs().values(), "syslinux-common"}
    return sorted(packages)


def check_requirements() -> None:
    """Raise ``ConfigurationError``, which names all missing programs at once."""
    programs = _needed_programs()
    missing = [name for name in programs if shutil.which(name, path=_search_path()) is None]
    if missing:
        packages = sorted({programs[name] for name in missing})
        raise ConfigurationError(
            f"Building the service image needs {', '.join(missing)}.",
            hint=f"Run: apt-get install --no-install-recommends {' '.join(packages)}",
        )


def _needed_programs() -> dict[str, str]:
    return _PROGRAMS if os.geteuid() == 0 else {**_PROGRAMS, **_WITHOUT_ROOT}


def _search_path() -> str:
    return f"{os.environ.get('PATH', os.defpath)}:{_SYSTEM_PATH}"


class Runner:
    """Runs programs with an environment that makes their output reproducible."""

    def __init__(self, log: Path, temporary: Path) -> None:
        self._log = log
        # All variables that affect the output are set here.
        self._environ = {
            "PATH": _search_path(),
            "HOME": os.environ.get("HOME", "/"),
            "LC_ALL": "C.UTF-8",
            "TZ": "UTC",
            "TMPDIR": str(temporary),
            "SOURCE_DATE_EPOCH": str(EPOCH),
            "E2FSPROGS_FAKE_TIME": str(EPOCH),
            "MKE2FS_CONFIG": str(FILES / "boot/mke2fs.conf"),
            "MTOOLS_SKIP_CHECK": "1",
            "DEBIAN_FRONTEND": "noninteractive",
            # Debian's initrd is not made, because Atoll makes its own.
            "INITRD": "No",
        }

    def __call__(
        self,
        argv: Sequence[str],
        *,
        name: str = "",
        stdin: str = "",
        on_line: Callable[[str], None] | None = None,
    ) -> None:
        """Run a program; each line of its output is logged and passed to ``on_line``.

        ``name`` is the name in messages, if it is not the first word of ``argv``. Raises
        ``ImageBuildFailed`` with the log's last lines if the program fails.
        """
        with (
            self._log.open("a") as log,
            # Input comes from a file, because with pipes both sides could block each other.
            tempfile.TemporaryFile("w+") as given,
            self._started(argv, given, stdin) as process,
        ):
            assert process.stdout
            try:
                for line in process.stdout:
                    log.write(line)
                    if on_line:
                        on_line(line)
            except BaseException:
                process.terminate()
                raise
        if process.returncode != 0:
            raise ImageBuildFailed(
                f"Building the service image failed: {name or argv[0]} ended with"
                f" {process.returncode}.\n" + self._last_lines()
            )

    def _started(self, argv: Sequence[str], given: IO[str], stdin: str) -> subprocess.Popen[str]:
        given.write(stdin)
        given.seek(0)
        return subprocess.Popen(
            list(argv),
            stdin=given,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environ,
            text=True,
            errors="replace",
        )

    def _last_lines(self) -> str:
        lines = [line for line in self._log.read_text(errors="replace").splitlines() if line]
        return "\n".join(f"    {line}" for line in lines[-_LAST_LINES:]) + "\n"
