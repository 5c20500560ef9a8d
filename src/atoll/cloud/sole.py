"""Trying again, and making exactly one thing where a cloud doesn't prevent a second one.

Answers get lost and several workers do the same work at the same moment. Every caller that makes
something therefore looks for it first, by its owner, and looks again after a failure. All of them
use the numbers of tries and the pauses of this module.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import structlog

from atoll.errors import CloudError, CloudUnavailable

log = structlog.get_logger(__name__)

TRIES = 5
"""How often a request is sent until its failure is reported."""
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 5.0
"""Upper limits of the pause after the first and after every later failure, in seconds."""
SHORTEST_PAUSE = 0.1
PATIENCE_SECONDS = 10.0
"""How long an unfinished thing is left to the worker that began it, until another continues it."""

T = TypeVar("T")
Json = dict[str, Any]


def pause(failed: int) -> None:
    """Sleep after the ``failed``-th failure (from 1), longer each time.

    The time is random, because two workers that met once would otherwise meet again.
    """
    longest = min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** (failed - 1))
    time.sleep(random.uniform(SHORTEST_PAUSE, longest))


def repeated(
    call: Callable[[], T], on: type[CloudError] | tuple[type[CloudError], ...] = CloudUnavailable
) -> T:
    """What ``call`` returns, called again up to ``TRIES`` times while it raises one of ``on``."""
    for failed in range(1, TRIES):
        try:
            return call()
        except on as error:
            log.info("cloud.request_repeated", failed=failed, error=str(error))
            pause(failed)
    return call()


def found_or_made(find: Callable[[], T | None], make: Callable[[int], T]) -> T:
    """What ``find`` finds, else what ``make`` makes (its argument is how often that has failed).

    After a lost answer, or a refusal because another worker was quicker, ``find`` is called again.
    This is for things of which the cloud itself refuses a second one. Raises ``CloudUnavailable``
    when the last try has failed.
    """
    for failed in range(1, TRIES):
        found = find()
        if found is not None:
            return found
        try:
            return make(failed - 1)
        except CloudUnavailable as error:
            log.info("cloud.request_repeated", failed=failed, error=str(error))
            pause(failed)
    found = find()
    return make(TRIES - 1) if found is None else found


def alone(
    find: Callable[[], Sequence[Json]],
    make: Callable[[], Json],
    discard: Callable[[Json], object],
    what: str,
) -> Json:
    """Make a thing (it has an ``id``) and keep it only if ``find`` then finds no other.

    Of several workers that do this at the same moment, at most one can ever find its own alone.
    The others remove theirs and raise ``CloudUnavailable``, with ``what`` was to be made.
    """
    made = make()
    if [thing["id"] for thing in find()] == [made["id"]]:
        return made
    discard(made)
    raise CloudUnavailable(f"Several workers tried to create {what} at once; it will be retried.")


def sole(
    find: Callable[[], Sequence[T]],
    finished: Callable[[Sequence[T]], T | None],
    make: Callable[[], T],
    resume: Callable[[T], T],
) -> T:
    """The one thing that may exist, made or finished if need be.

    ``find`` lists what is there and ``finished`` picks the one that counts, if any does yet. Where
    there is nothing, ``make`` is called. What another worker has begun is waited for; after
    ``PATIENCE_SECONDS`` that worker is taken for dead and ``resume`` goes on with the first thing
    found. Raises the ``CloudError`` of ``make`` or ``resume`` if it is not ``retryable``, or if it
    lasts for longer than that.
    """
    patience_ends = time.monotonic() + PATIENCE_SECONDS
    failed = 0
    while True:
        found = find()
        chosen = finished(found)
        if chosen is not None:
            return chosen
        is_patient = time.monotonic() < patience_ends
        if not found or not is_patient:
            try:
                return resume(found[0]) if found else make()
            except CloudError as error:
                if not is_patient or not error.retryable:
                    raise
                failed += 1
        pause(max(failed, 1))


def oldest(
    find: Callable[[], str | None],
    make: Callable[[], str],
    settle: Callable[[str], T],
    discard: Callable[[str], object],
) -> T:
    """The oldest thing, by its id, made if there is none; ``settle`` waits until it is ready.

    Nothing keeps two workers from making one each. The oldest counts, and a worker that has made
    another removes it. It looks again once its own is ready, because by then it sees everything
    that was begun earlier.
    """
    thing_id = find()
    if thing_id is None:
        thing_id = make()
        made = settle(thing_id)
        kept = find()
        if kept is None or kept == thing_id:
            return made
        discard(thing_id)
        thing_id = kept
    return settle(thing_id)
