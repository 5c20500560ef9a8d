"""Prometheus metrics of operations: how they end, how long they take, how many there are."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client import Counter, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from atoll.db import operations, restores
from atoll.db.database import Database

OPERATIONS = Counter(
    "atoll_operations_total",
    "Runs of operations by how they ended: done, failed, retried, postponed, released",
    ["resource_type", "outcome"],
)
DURATION = Histogram(
    "atoll_operation_seconds",
    "Time that one run of an operation took",
    ["resource_type"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600),
)


class QueueCollector(Collector):
    """Counts the active operations in the database, and looks for restores, at each scrape.

    Register it where ``/metrics`` is served: ``REGISTRY.register(QueueCollector(database))``.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> Iterator[GaugeMetricFamily]:
        """Return the metrics' names without a query to the database."""
        yield self._family()
        yield self._held()

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Return the number of active operations by status, and whether a restore is held."""
        family, held = self._family(), self._held()
        with self._database.read() as connection:
            for status, count in operations.depth(connection).items():
                family.add_metric([status], count)
            held.add_metric([], float(restores.held(connection) is not None))
        yield family
        yield held

    def _held(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "atoll_restore_held",
            "1 while the database was restored from a backup, and no operator has released that",
        )

    def _family(self) -> GaugeMetricFamily:
        return GaugeMetricFamily(
            "atoll_operations_active", "Operations by status", labels=["status"]
        )
