"""The service image, kept by its checksum, so that a new build changes no root disk in use."""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from atoll.cloud.base import Image
from atoll.cloud.local.connection import QemuUser
from atoll.cloud.local.records import locked
from atoll.cloud.program import run
from atoll.errors import CloudNotFound

KEEP_SECONDS = 86400.0


class LocalImages:
    """Implements ``Images``. ``source`` is what ``atoll image build`` made."""

    def __init__(self, directory: Path, source: Path | None, user: Callable[[], QemuUser]) -> None:
        self.directory = directory
        self.source = source
        self._user = user
        self._version: tuple[float, int] | None = None
        self._checksum = ""
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)

    def service_image(self) -> Image:
        """The image to boot. Raises ``CloudNotFound``, with what to do, if there is none."""
        if self.source is None or not self.source.exists():
            where = f" at {self.source}" if self.source else ""
            raise CloudNotFound(
                f"There is no service image{where}.", hint="Run 'atoll image build' to make it."
            )
        state = self.source.stat()
        version = (state.st_mtime, state.st_size)
        if version != self._version or not self._file(self._checksum).exists():
            self._checksum, self._version = self._import(self.source), version
        return Image(self._checksum, self.source.name, self._checksum)

    def path(self, image_id: str) -> Path:
        """The file of an image. Raises ``CloudNotFound``."""
        path = self._file(image_id)
        if "/" in image_id or not path.exists():
            raise CloudNotFound(f"There is no image {image_id}.")
        return path

    def keep_only(self, in_use: set[str]) -> None:
        """Remove images that no instance is based on, except those of the last day."""
        for path in self.directory.glob("*.qcow2"):
            if path.stem not in in_use and time.time() - path.stat().st_mtime > KEEP_SECONDS:
                path.unlink(missing_ok=True)

    def _file(self, image_id: str) -> Path:
        return self.directory / f"{image_id}.qcow2"

    def make_root(self, image_id: str, path: Path) -> None:
        """Make an instance's root disk on top of an image, unless it is there."""
        if path.exists():
            return
        fresh = path.with_name(f".{path.name}")
        fresh.unlink(missing_ok=True)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2"]
        run([*argv, "-b", str(self.path(image_id)), str(fresh)])
        user = self._user()
        fresh.chmod(0o600)  # the disk contains the instance's host key
        os.chown(fresh, user.uid, user.gid)
        fresh.rename(path)

    def _import(self, source: Path) -> str:
        self._user()  # libvirt's first answer takes seconds, which must not delay a user's share
        with locked(self.directory):
            with source.open("rb") as file:
                checksum = hashlib.file_digest(file, "sha256").hexdigest()
            path = self._file(checksum)
            if not path.exists():
                fresh = path.with_suffix(".part")
                shutil.copyfile(source, fresh)
                fresh.chmod(0o444)
                fresh.rename(path)
            return checksum
