"""A file system held still for the moment in which its volume is copied."""

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
    """Freeze for ``asker``, and thaw whatever happens; the agent thaws after ``seconds`` by itself.

    None is a file system that no instance has mounted: nothing can write to it. Raises
    ``ServiceInstanceUnavailable`` while it is frozen for another, and ``SnapshotInconsistent`` when
    this very freeze did not hold to the end.
    """
    if guest is None:
        yield
        return
    freeze = Freeze(asker)
    try:
        # Within the try: of a lost answer nobody knows whether it is frozen.
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
    """Freeze shares (path by id) whose instance is about to be destroyed; nobody thaws them.

    So all that clients have been told is written is on the volumes, and they wait for the next
    instance. A snapshot that is being taken loses its freeze, and is taken again. One that can't be
    frozen is only noted: then it is as after a power cut.
    """
    for share_id, path in paths.items():
        try:
            freeze = Freeze("replacement", takes_over=True)
            guest.freeze_share(share_id, path, freeze, seconds=seconds)
        except GuestError as error:
            log.warning("share_not_frozen", share=share_id, error=str(error))
