"""What an operator sees of operations: log lines that can be put together, and metrics."""

from __future__ import annotations

import structlog
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest

from atoll.engine.metrics import QueueCollector
from atoll.engine.operation import Operation
from atoll.errors import OutOfCapacity
from tests.engine.conftest import Recorder, Yard


def test_log_lines_carry_operation_resource_and_request(yard: Yard, recorder: Recorder) -> None:
    seen: list[dict[str, object]] = []

    def act(operation: Operation) -> None:
        seen.append(structlog.contextvars.get_contextvars())

    recorder.does["share/1"] = recorder.does["share/2"] = act
    yard.ask("share/1", request_id="req-1")
    yard.work({"share": recorder})
    yard.ends("share/1")
    yard.ask("share/2")
    yard.ends("share/2")
    first, second = seen
    assert (first["resource"], first["request_id"]) == ("share/1", "req-1")
    assert first["operation_id"] == recorder.converged["share/1"][0].id
    assert (second["resource"], second["request_id"]) == ("share/2", None)


def test_outcomes_and_the_queue_are_counted(yard: Yard, recorder: Recorder) -> None:
    def fail(_: Operation) -> None:
        raise OutOfCapacity

    def ended(outcome: str) -> float:
        labels = {"resource_type": "share", "outcome": outcome}
        return REGISTRY.get_sample_value("atoll_operations_total", labels) or 0.0

    before = ended("done"), ended("failed")
    recorder.does["share/2"] = fail
    yard.ask("share/1", "share/2")
    yard.work({"share": recorder})
    yard.ends("share/1")
    yard.ends("share/2", "failed")
    yard.stop()
    assert (ended("done"), ended("failed")) == (before[0] + 1, before[1] + 1)
    yard.ask("share/3")
    registry = CollectorRegistry()
    registry.register(QueueCollector(yard.database))
    scraped = generate_latest(registry).decode()
    assert 'atoll_operations_active{status="running"} 0.0' in scraped
    assert 'atoll_operations_active{status="queued"} 2.0' in scraped  # and the pruning
