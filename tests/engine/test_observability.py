"""What an operator sees of operations: log lines that can be put together, and metrics."""

from __future__ import annotations

import structlog
import structlog.testing
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from atoll.engine.metrics import QueueCollector
from atoll.engine.operation import Operation
from atoll.errors import CloudUnavailable, OutOfCapacity, ServiceInstanceUnavailable
from tests.engine.conftest import Recorder, Workers


def test_log_lines_carry_operation_resource_and_request(
    workers: Workers, recorder: Recorder
) -> None:
    seen: list[dict[str, object]] = []

    def act(operation: Operation) -> None:
        seen.append(structlog.contextvars.get_contextvars())

    recorder.does["share/1"] = recorder.does["share/2"] = act
    workers.ask("share/1", request_id="req-1")
    workers.work({"share": recorder})
    workers.ends("share/1")
    workers.ask("share/2")
    workers.ends("share/2")
    first, second = seen
    assert (first["resource"], first["request_id"]) == ("share/1", "req-1")
    assert first["operation_id"] == recorder.converged["share/1"][0].id
    assert (second["resource"], second["request_id"]) == ("share/2", None)


def test_the_log_has_the_whole_error(workers: Workers, recorder: Recorder) -> None:
    """Users read little of an error, so operators must find all of it, by the request's id."""

    def fail(_: Operation) -> None:
        try:
            raise CloudUnavailable("10.254.0.9 refused port 22")
        except CloudUnavailable as error:
            raise ServiceInstanceUnavailable("The instance keeps silent.") from error

    recorder.does["share/1"] = fail
    with structlog.testing.capture_logs([structlog.contextvars.merge_contextvars]) as lines:
        workers.ask("share/1", request_id="req-1")
        workers.work({"share": recorder})
        workers.ends("share/1", "failed")
        workers.stop()
    told = [line for line in lines if line["event"] in ("operation.retried", "operation.failed")]
    assert {line["event"] for line in told} == {"operation.retried", "operation.failed"}
    for line in told:
        assert (line["resource"], line["request_id"]) == ("share/1", "req-1")
        assert "The instance keeps silent. Cause: 10.254.0.9 refused port 22" in line["error"]
    assert "10.254.0.9" in workers.rows("share/1")[0].error


def test_outcomes_and_the_queue_are_counted(workers: Workers, recorder: Recorder) -> None:
    def fail(_: Operation) -> None:
        raise OutOfCapacity

    def ended(outcome: str) -> float:
        labels = {"resource_type": "share", "outcome": outcome}
        return REGISTRY.get_sample_value("atoll_operations_total", labels) or 0.0

    before = ended("done"), ended("failed")
    recorder.does["share/2"] = fail
    workers.ask("share/1", "share/2")
    workers.work({"share": recorder})
    workers.ends("share/1")
    workers.ends("share/2", "failed")
    workers.stop()
    assert (ended("done"), ended("failed")) == (before[0] + 1, before[1] + 1)
    workers.ask("share/3")
    registry = CollectorRegistry()
    registry.register(QueueCollector(workers.database))
    scraped = generate_latest(registry).decode()
    assert 'atoll_operations_active{status="running"} 0.0' in scraped
    assert 'atoll_operations_active{status="queued"} 2.0' in scraped  # and the pruning
