"""The worker: claims operations, runs their handlers in threads, writes how they ended."""

from __future__ import annotations

from collections.abc import Mapping

from atoll.db.database import Database
from atoll.engine.operation import Handler


class Worker:
    """Runs operations until told to stop.

    ``handlers`` by resource type; ``name`` unique among live workers; ``threads`` operations at
    once, of one lane at most ``lane_width``; ``lease`` seconds without a sign of life until
    another worker takes over; ``poll`` seconds between looks when nobody rings.
    """

    def __init__(
        self,
        database: Database,
        handlers: Mapping[str, Handler],
        *,
        name: str | None = None,
        threads: int = 32,
        lease: float = 30.0,
        lane_width: int = 4,
        poll: float = 1.0,
    ) -> None:
        raise NotImplementedError

    def run(self) -> None:
        """Work until ``stop`` is called (from a signal handler or another thread)."""
        raise NotImplementedError

    def stop(self, grace: float = 10.0) -> None:
        """Claim nothing more; ``run`` returns when all ended, or after ``grace`` seconds."""
        raise NotImplementedError
