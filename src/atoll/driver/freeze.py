"""Freezing a file system while its volume is copied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping

import structlog

from atoll.errors import GuestError, ServiceInstanceUnavailable, SnapshotInconsistent
from atoll.guest.base import Freeze, Guest

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def frozen(
    guest: Guest | None, share_id: str, path: str, seconds: float, asker: str
) -> Iterator[None]:
    """Freeze for ``asker``, and thaw in any case. The agent thaws after ``seconds`` by itself.

    ``guest`` is None for a file system that no instance has mounted, to which nothing can write.
    Raises ``ServiceInstanceUnavailable`` while it is frozen for another asker, and
    ``SnapshotInconsistent`` if this freeze ended too early.
    """
    if guest is None:
        yield
        return
    freeze = Freeze(asker)
    try:
        # This is within the try, because after a lost answer it may be frozen.
        _freeze(guest, share_id, path, freeze, seconds)
        yield
    except BaseException:
        with contextlib.suppress(GuestError):
            guest.thaw_share(share_id, path, freeze)
        raise
    try:
        guest.thaw_share(share_id, path, freeze)
    except GuestError as error:
        raise SnapshotInconsistent(
            f"The freeze of share {share_id} did not hold while its volume was copied: {error}"
        ) from error


def _freeze(guest: Guest, share_id: str, path: str, freeze: Freeze, seconds: float) -> None:
    try:
        guest.freeze_share(share_id, path, freeze, seconds=seconds)
    except GuestError as error:
        raise ServiceInstanceUnavailable(
            f"Share {share_id} can't be frozen at the moment: {error}",
            public=f"The share can't be frozen for a snapshot at the moment. {error.public}",
        ) from error


def hold_still(guest: Guest, paths: Mapping[str, str], seconds: float) -> None:
    """Freeze shares (path by id) whose instance is about to be deleted. They are not thawed.

    Everything that was acknowledged to clients is then on the volumes, and clients wait for the
    next instance. A snapshot that is being taken loses its freeze, and is taken again. A share that
    can't be frozen is only logged, and is then in the same state as after a power failure.
    """
    for share_id, path in paths.items():
        try:
            freeze = Freeze("replacement", takes_over=True)
            guest.freeze_share(share_id, path, freeze, seconds=seconds)
        except GuestError as error:
            log.warning("share_not_frozen", share=share_id, error=str(error))
