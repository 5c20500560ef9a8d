"""What the superblock of an ext4 or XFS file system says, read without starting a program."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import NamedTuple

EXT4_AT, EXT4_MAGIC = 1024, 0xEF53
EXT4_HAS_JOURNAL, EXT4_EXTENTS = 0x4, 0x40
"""Bits of the compatible and the incompatible features. ext2 and ext3 do not have both."""
EXT4_ERRORS = 0x2
XFS_MAGIC = b"XFSB"


class Superblock(NamedTuple):
    """The identity of a file system, and its health as it was last recorded."""

    kind: str
    """``ext4``, ``xfs``, or ``ext2`` for all that lacks a journal or extents."""
    uuid: str
    label: str
    has_errors: bool
    """Whether ext4 has found errors. XFS records none."""
    size_bytes: int
    """The size to which it was made or grown. A mounted XFS may be larger."""


def read(device: str) -> Superblock | None:
    """The superblock; None if there is none of these kinds, or the device can't be read.

    It looks for nothing else.
    """
    try:
        with Path(device).open("rb") as file:
            start = file.read(EXT4_AT + 1024)
    except OSError:
        return None
    if len(start) < EXT4_AT + 1024:
        return None
    return _xfs(start) if start.startswith(XFS_MAGIC) else _ext4(start[EXT4_AT:])


def _ext4(block: bytes) -> Superblock | None:
    magic, state = struct.unpack_from("<HH", block, 0x38)
    compatible, incompatible = struct.unpack_from("<II", block, 0x5C)
    if magic != EXT4_MAGIC:
        return None
    is_ext4 = compatible & EXT4_HAS_JOURNAL and incompatible & EXT4_EXTENTS
    kind = "ext4" if is_ext4 else "ext2"
    low, log_size, high = (struct.unpack_from("<I", block, at)[0] for at in (0x4, 0x18, 0x150))
    size = (high << 32 | low) * (1024 << log_size)
    has_errors = bool(state & EXT4_ERRORS)
    return Superblock(kind, _uuid(block[0x68:]), _text(block[0x78:0x88]), has_errors, size)


def _xfs(block: bytes) -> Superblock:
    block_size, blocks = struct.unpack_from(">IQ", block, 4)
    return Superblock("xfs", _uuid(block[32:]), _text(block[108:120]), False, block_size * blocks)


def _uuid(block: bytes) -> str:
    digits = block[:16].hex()  # the module uuid is large, and an emulated instance loads it slowly
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _text(field: bytes) -> str:
    return field.split(b"\0")[0].decode(errors="replace")
