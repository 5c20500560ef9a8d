"""Volumes' data: qcow2 files, each with what differs from the one that it is based on.

A volume writes into its head, the topmost layer. A snapshot makes the present head read-only and
puts a new one on top; a volume made from a snapshot is a new head on the snapshot's layer. No layer
belongs to one volume or snapshot. A layer that no record needs is removed (``collect``), so a
parent can be deleted before its snapshots, and these before what was made from them.
"""

from __future__ import annotations

import os
import struct
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from atoll.cloud.local.connection import QemuUser
from atoll.cloud.local.records import sync
from atoll.cloud.program import run
from atoll.errors import CloudError, CloudNotFound

GIB = 1 << 30
DEEPEST = 150
"""The most layers on top of each other. libvirt follows at most 200."""
_HEADER = struct.Struct(">4sIQIIQ")
_MAGIC = b"QFI\xfb"


class Layers:
    """The directory of layers. ``user`` is the user that QEMU runs as."""

    def __init__(self, directory: Path, user: Callable[[], QemuUser]) -> None:
        self.directory = directory
        self._user = user
        self._direct: bool | None = None
        directory.mkdir(parents=True, exist_ok=True, mode=0o711)

    @property
    def direct(self) -> bool:
        """Whether the file system supports direct I/O (tmpfs often doesn't)."""
        if self._direct is None:
            with tempfile.NamedTemporaryFile(dir=self.directory, prefix=".direct-") as file:
                try:
                    os.close(os.open(file.name, os.O_RDONLY | os.O_DIRECT))
                except OSError:
                    self._direct = False
                else:
                    self._direct = True
        return self._direct

    def path(self, layer: str) -> Path:
        """The layer's file."""
        return self.directory / f"{layer}.qcow2"

    def layer(self, path: Path) -> str:
        """The layer that is in a file."""
        return path.name.removesuffix(".qcow2")

    def _draft(self, layer: str) -> Path:
        """The file in which a layer is made.

        Its maker has locked the volume's record, so there is only one.
        """
        return self.directory / f".draft-{layer}"

    def exists(self, layer: str) -> bool:
        """Whether it was completely made."""
        return self.path(layer).exists()

    def create(self, layer: str, size_gib: int, base: str = "") -> None:
        """Make a layer unless it is there: blank, or on top of ``base``."""
        if self.exists(layer):
            return
        if base and not self.exists(base):
            raise CloudNotFound("The layer below is gone.")
        if base and len(self.chain(base)) >= DEEPEST:
            raise CloudError(
                f"The volume has {DEEPEST} snapshots on top of each other.",
                hint="Delete some of them first.",
                public=f"The share has {DEEPEST} snapshots on top of each other. Delete some of "
                "them first.",
            )
        fresh = self._draft(layer)
        argv = ["qemu-img", "create", "-q", "-f", "qcow2"]
        if base:
            # The name is relative, so that the state directory can be moved. It is not checked
            # (-u), because a running instance may still be writing into the base.
            argv += ["-u", "-b", self.path(base).name, "-F", "qcow2"]
        try:
            run([*argv, str(fresh), f"{size_gib}G"])
            fresh.chmod(0o600)
            user = self._user()
            os.chown(fresh, user.uid, user.gid)
            # The layer is synced to disk before a record says that it is in use.
            sync(fresh)
            fresh.rename(self.path(layer))
        finally:
            fresh.unlink(missing_ok=True)
        sync(self.directory)

    def resize(self, layer: str, size_gib: int) -> None:
        """Grow a head that no instance has open."""
        run(["qemu-img", "resize", "-q", str(self.path(layer)), f"{size_gib}G"])

    def base(self, layer: str) -> str:
        """The layer that this one is based on, or an empty string."""
        try:
            with self.path(layer).open("rb") as file:
                magic, _, offset, length, _, _ = _HEADER.unpack(file.read(_HEADER.size))
                file.seek(offset)
                name = file.read(length).decode() if magic == _MAGIC and offset else ""
        except (FileNotFoundError, struct.error):
            return ""
        return self.layer(Path(name)) if name else ""

    def size_gib(self, layer: str) -> int:
        """The size of the disk in the layer, in bytes; 0 if the layer does not exist."""
        try:
            with self.path(layer).open("rb") as file:
                return int(_HEADER.unpack(file.read(_HEADER.size))[5]) // GIB
        except (FileNotFoundError, struct.error):
            return 0

    def chain(self, layer: str) -> list[str]:
        """The layer and all that it is based on, topmost first."""
        found = []
        while layer:
            found.append(layer)
            layer = self.base(layer)
        return found

    def children(self) -> Counter[str]:
        """How many layers are based on each."""
        return Counter(self.base(self.layer(path)) for path in self.directory.glob("*.qcow2"))

    def collect(self, reached: Callable[[], Iterable[str]]) -> list[str]:
        """Remove the layers that no record reaches, and return their names.

        ``reached`` is called after the files were listed. A record is written before its layer is
        made, so every listed layer that is needed is in a record by then.
        """
        present = {self.layer(path) for path in self.directory.glob("*.qcow2")}
        drafts = [path.name.removeprefix(".draft-") for path in self.directory.glob(".draft-*")]
        wanted: set[str] = set()
        for layer in reached():
            while layer and layer not in wanted:
                wanted.add(layer)
                layer = self.base(layer)
        for layer in drafts:
            if layer not in wanted:  # a worker has died while it made one
                self._draft(layer).unlink(missing_ok=True)
        unwanted = [layer for layer in present if layer not in wanted]
        for layer in unwanted:
            self.path(layer).unlink(missing_ok=True)
        return unwanted
