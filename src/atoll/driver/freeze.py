"""A file system held still for the moment in which its volume is copied."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from atoll.errors import GuestError, ServiceInstanceUnavailable, SnapshotInconsistent
from atoll.guest.base import Guest


@contextlib.contextmanager
def frozen(guest: Guest | None, share_id: str, path: str, seconds: float) -> Iterator[None]:
    """Freeze, and thaw whatever happens; the agent thaws by itself after ``seconds``.

    None is a file system that no instance has mounted: nothing can write to it. Raises
    ``SnapshotInconsistent`` when the freeze did not hold to the end.
    """
    if guest is None:
        yield
        return
    try:
        # Within the try: of a lost answer nobody knows whether it is frozen.
        _freeze(guest, share_id, path, seconds)
        yield
    except BaseException:
        with contextlib.suppress(GuestError):
            guest.thaw_share(share_id, path)
        raise
    try:
        guest.thaw_share(share_id, path)
    except GuestError as error:
        raise SnapshotInconsistent(
            f"The freeze of share {share_id} did not hold while its volume was copied: {error}"
        ) from error


def _freeze(guest: Guest, share_id: str, path: str, seconds: float) -> None:
    try:
        guest.freeze_share(share_id, path, seconds=seconds)
    except GuestError as error:
        raise ServiceInstanceUnavailable(
            f"Share {share_id} can't be frozen at the moment: {error}"
        ) from error
