"""The inputs of a service image, and their hash, by which a finished image is found.

The recipe is in ``files/``: ``packages.txt``, ``rootfs/`` (copied unchanged), ``customize.sh`` (run
in the image) and ``boot/`` (boot loader, initrd).
"""

from __future__ import annotations

import hashlib
import io
import platform
import subprocess
import tarfile
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from atoll.errors import ConfigurationError

FILES = Path(__file__).parent / "files"

# All file times in the image are at most this (2025-01-01), see SOURCE_DATE_EPOCH.
EPOCH = 1735689600

# The modules that affect the bytes of an image.
_CODE = ("bootstrap.py", "build.py", "commands.py", "disk.py", "initrd.py", "recipe.py")

# A kernel for virtual machines: small, virtio only.
KERNELS = {"debian": "linux-image-cloud-amd64", "ubuntu": "linux-image-virtual"}
COMPONENTS = {"debian": ("main",), "ubuntu": ("main", "universe")}


@dataclass(frozen=True, slots=True)
class Recipe:
    """All inputs of one build."""

    distribution: str
    """``debian`` or ``ubuntu``."""
    suite: str
    sources: tuple[str, ...]
    """One-line apt sources."""
    packages: tuple[str, ...]

    @property
    def key(self) -> str:
        """A hash of all inputs: images with the same key are equal."""
        digest = hashlib.sha256()
        for part in (self.distribution, self.suite, *self.sources, *self.packages):
            digest.update(part.encode() + b"\0")
        code = Path(__file__).parent
        for path in [*recipe_files(), *(code / name for name in _CODE)]:
            name = path.relative_to(code if path.parent == code else FILES)
            digest.update(f"{name}\0".encode())
            digest.update(path.read_bytes())
        return digest.hexdigest()[:16]

    @property
    def root_uuid(self) -> str:
        """UUID of the root file system, derived from the inputs for reproducible builds."""
        return str(uuid.uuid5(uuid.NAMESPACE_URL, f"atoll:service-image:{self.key}"))


def make_recipe(suite: str | None = None, sources: Sequence[str] | None = None) -> Recipe:
    """The recipe for this machine, or with other one-line apt ``sources``.

    Raises ``ConfigurationError`` if the machine has no apt sources for the suite.
    """
    if platform.machine() != "x86_64":
        raise ConfigurationError(
            f"The service image is built for x86_64, not {platform.machine()}.",
            hint="Build it on an x86_64 machine and copy the file.",
        )
    release = platform.freedesktop_os_release()
    distribution = "ubuntu" if release.get("ID") == "ubuntu" else "debian"
    suite = suite or release.get("VERSION_CODENAME", "bookworm")
    if sources is None:
        sources = machine_sources(suite, COMPONENTS[distribution])
    if not sources:
        raise ConfigurationError(
            f"This machine's apt sources have nothing for '{suite}'.",
            hint="Use a suite that they have, or give sources ('deb URI SUITE main').",
        )
    packages = (KERNELS[distribution], *lines_of("packages.txt"))
    return Recipe(distribution, suite, tuple(sources), packages)


def machine_sources(
    suite: str, components: Iterable[str], etc_apt: Path = Path("/etc/apt")
) -> list[str]:
    """The machine's own sources for a suite and its updates, as one-line entries.

    Other repositories that the machine uses (third parties, backports) are left out.
    """
    lists = [etc_apt / "sources.list", *sorted((etc_apt / "sources.list.d").glob("*"))]
    suites = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    entries: dict[str, None] = {}
    for path in lists:
        if path.suffix == ".sources":
            found = _deb822_entries(path.read_text())
        elif path.suffix == ".list" and path.exists():
            found = _one_line_entries(path.read_text())
        else:
            continue
        for option, uri, its_suite, its_components in found:
            taken = [c for c in components if c in its_components]
            if its_suite in suites and taken:
                options = f"[signed-by={option}] " if option else ""
                entries[f"deb {options}{uri} {its_suite} {' '.join(taken)}"] = None
    return list(entries)


_Entry = tuple[str, str, str, list[str]]


def _deb822_entries(text: str) -> Iterable[_Entry]:
    for stanza in text.split("\n\n"):
        fields: dict[str, str] = {}
        key = ""
        for line in stanza.splitlines():
            if line.startswith("#") or not line.strip():
                continue
            if line[0] in " \t":
                fields[key] += " " + line.strip()
            else:
                key, _, value = line.partition(":")
                key = key.lower()
                fields[key] = value.strip()
        if fields.get("enabled", "yes") == "no" or "deb" not in fields.get("types", "").split():
            continue
        # An embedded key can't be given on one line, so apt's trusted keys are used instead.
        signed_by = fields.get("signed-by", "")
        signed_by = signed_by if signed_by.startswith("/") else ""
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield signed_by, uri, suite, fields.get("components", "").split()


def _one_line_entries(text: str) -> Iterable[_Entry]:
    for line in text.splitlines():
        line = line.partition("#")[0].strip()
        if not line.startswith("deb "):
            continue
        rest = line[4:].strip()
        options = ""
        if rest.startswith("["):
            options, _, rest = rest[1:].partition("]")
        signed_by = next(
            (o.removeprefix("signed-by=") for o in options.split() if o.startswith("signed-by=/")),
            "",
        )
        uri, suite, *components = rest.split()
        yield signed_by, uri, suite, components


def lines_of(name: str) -> list[str]:
    """The lines of a list in ``files/``, without comments."""
    lines = (line.strip() for line in (FILES / name).read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def recipe_files() -> list[Path]:
    """All files of the recipe in a fixed order, without Python's bytecode."""
    found = (path for path in FILES.rglob("*") if path.is_file())
    return sorted(path for path in found if path.parent.name != "__pycache__")


def rootfs_tar() -> bytes:
    """``files/rootfs`` (and customize.sh) as a tar archive: owned by root, dated ``EPOCH``."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for path in recipe_files():
            if path.is_relative_to(FILES / "rootfs"):
                name = str(path.relative_to(FILES / "rootfs"))
            elif path.name == "customize.sh":
                name = "customize.sh"
            else:
                continue
            info = tarfile.TarInfo(name)
            info.size = path.stat().st_size
            # Modes differ between checkouts and wheels. Scripts are run by their interpreter.
            info.mode = 0o644
            info.mtime = EPOCH
            with path.open("rb") as file:
                tar.addfile(info, file)
    return buffer.getvalue()


def apt_proxy_options() -> list[str]:
    """Arguments of mmdebstrap for the proxies of this machine's apt."""
    options = []
    for scheme in ("http", "https"):
        key = f"Acquire::{scheme}::Proxy"
        done = subprocess.run(
            ["apt-config", "shell", "PROXY", key], capture_output=True, text=True, check=False
        )
        value = done.stdout.strip().removeprefix("PROXY=").strip("'")
        if value:
            options.append(f'--aptopt={key} "{value}"')
    return options
