"""Runs a handler once, and decides how the operation's row ends.

=====================  ==========================================================================
``converge`` …         the operation …
=====================  ==========================================================================
returns                is done
raises Postponed       is queued again, until the other resource has no active operation
raises a retryable     is queued again after a back-off; when the tries or the time are used up,
error, or the          ``give_up`` follows. With ``retry_within`` only the time counts, and the
database is away       back-off is at most that
raises anything else   is given up: ``give_up`` writes the error state, the operation is failed
raises LeaseLost       belongs to another worker; if it does not, it is queued again
(there is no handler)  is failed
=====================  ==========================================================================
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import structlog

from atoll.db.database import is_transient
from atoll.db.endings import Ending
from atoll.engine.operation import Handler, Operation
from atoll.engine.retry import Retry
from atoll.errors import (
    AtollError,
    LaneFull,
    LeaseLost,
    OperationError,
    Postponed,
    WorkerStopping,
)
from atoll.model.states import OperationStatus

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one run of an operation ended."""

    operation: Operation
    name: str
    """done, failed, retried, postponed, released: the metrics' label."""
    ending: Ending


def run(handler: Handler | None, operation: Operation, retry: Retry) -> Outcome:
    """Converge, and give up if necessary; never raises."""
    if handler is None:
        # If a newer worker knows the type, the reconcile pass requests the operation again.
        log.error("operation.rejected", reason="there is no handler for its type")
        unknown = f"There is no type of resource {operation.resource_type}."
        return _finished(operation, OperationStatus.FAILED, error=unknown)
    if operation.taken_over and operation.attempt > retry.tries:
        error = OperationError(
            "Several workers have died while they ran this operation.",
            public="This failed several times and is not tried again automatically.",
        )
        return _give_up(handler, operation, retry, error)
    try:
        handler.converge(operation)
    except Exception as error:  # noqa: BLE001 - the operation's outermost frame
        return _after_error(handler, operation, retry, error)
    except BaseException as error:  # noqa: BLE001 - the row must be written even if the thread is told to end
        return _after_error(handler, operation, retry, RuntimeError(f"ended by {error!r}"))
    return _finished(operation, OperationStatus.DONE)


def _after_error(handler: Handler, operation: Operation, retry: Retry, error: Exception) -> Outcome:
    match error:
        case Postponed():
            return _requeued(operation, "postponed", waits_for=error.waits_for, error=_text(error))
        case LaneFull() | WorkerStopping():
            return _requeued(operation, "released")
        case LeaseLost():
            log.warning("operation.lease_lost")
            return _requeued(operation, "released")
        case AtollError():
            may_retry = error.retryable
        case _:
            may_retry = is_transient(error)
            if not may_retry:
                log.error("operation.handler_crashed", exc_info=error)
    attempt, delay = operation.attempt, retry.delay(operation.attempt)
    within = error.retry_within if isinstance(error, AtollError) else None
    if within is not None:  # the tries of such an operation are not used up
        attempt, delay = min(attempt, retry.tries - 1), min(delay, within)
    if may_retry and not retry.is_over(attempt, _age(operation)):
        log.info("operation.retried", attempt=attempt, delay=delay, error=_whole(error))
        tries = attempt + 1 - operation.attempt
        return _requeued(operation, "retried", delay=delay, failed_tries=tries, error=_text(error))
    return _give_up(handler, operation, retry, error)


def _give_up(handler: Handler, operation: Operation, retry: Retry, error: Exception) -> Outcome:
    try:
        handler.give_up(operation, error)
    except (LeaseLost, WorkerStopping):
        return _requeued(operation, "released")
    except BaseException as problem:
        # The error state could not be written: converge and give up again later, without limit.
        log.error("operation.give_up_failed", exc_info=problem)
        delay = retry.delay(operation.attempt)
        return _requeued(operation, "retried", delay=delay, failed_tries=1, error=_text(error))
    log.warning("operation.failed", error=_whole(error))
    return _finished(operation, OperationStatus.FAILED, error=_text(error))


def _finished(operation: Operation, status: OperationStatus, error: str | None = None) -> Outcome:
    ending = Ending(
        id=operation.id,
        fence=operation.fence,
        lane=operation.lane,
        status=status,
        requeue=operation.repeat is not None,
        delay=operation.repeat or 0.0,
        error=error,
        request_id=operation.request_id,
    )
    return Outcome(operation, status, ending)


def _requeued(
    operation: Operation,
    name: str,
    *,
    delay: float = 0.0,
    failed_tries: int = 0,
    waits_for: str | None = None,
    error: str | None = None,
) -> Outcome:
    ending = Ending(
        id=operation.id,
        fence=operation.fence,
        lane=operation.lane,
        requeue=True,
        delay=delay,
        fresh=False,
        failed_tries=failed_tries,
        waits_for=waits_for,
        error=error,
    )
    return Outcome(operation, name, ending)


def _text(error: Exception) -> str:
    """Return the text that the row keeps of an error, without what a database could refuse."""
    return _whole(error)[:2000].replace("\0", "").encode("utf-8", "replace").decode()


def _whole(error: BaseException) -> str:
    """Return the messages of an error and its causes. Users read less, so operators need all."""
    said: list[str] = []
    each: BaseException | None = error
    while each is not None:
        text = str(each) if isinstance(each, AtollError) else f"{type(each).__name__}: {each}"
        if not any(text in earlier for earlier in said):
            said.append(text)
        each = each.__cause__
    return " Cause: ".join(said)


def _age(operation: Operation) -> float:
    asked = datetime.fromisoformat(operation.asked_at).replace(tzinfo=UTC)
    return (datetime.now(UTC) - asked).total_seconds()
