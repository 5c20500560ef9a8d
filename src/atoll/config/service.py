"""The database, the worker, quotas and logs."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from atoll.config.section import Limit, Seconds, Section


class DatabaseSettings(Section, frozen=True):
    """The database."""

    url: str = ""
    """``postgresql+psycopg://…``; empty means SQLite in the state directory."""
    connections: Annotated[int, Meta(ge=4)] = 20
    """Maximum number of connections of one process; a worker on PostgreSQL has one more, to listen.
    All processes together must stay below the server's ``max_connections``."""
    timeout: Annotated[float, Meta(ge=1)] = 5
    """Longest time in seconds for an answer of PostgreSQL before the statement fails."""


class Worker(Section, frozen=True):
    """The worker process, which runs operations."""

    threads: Annotated[int, Meta(gt=0)] = 32
    """Operations that one worker runs at once."""
    lease: Seconds = 30
    """A dead worker's operations are taken over after this many seconds."""
    reconcile_interval: Seconds = 60
    """Seconds between two reconcile passes, which compare wanted and actual state."""
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Port on loopback where the worker serves /metrics; 0: none."""


class Quota(Section, frozen=True):
    """Default limits of a project; -1 means unlimited."""

    shares: Limit = 50
    """Shares of a project."""
    gigabytes: Limit = 1000
    """GiB of all shares of a project."""
    snapshots: Limit = 50
    """Snapshots of a project."""
    snapshot_gigabytes: Limit = 1000
    """GiB of all snapshots of a project."""
    share_networks: Limit = 10
    """Share networks of a project."""
    per_share_gigabytes: Limit = -1
    """GiB of one share."""

    def limits(self) -> dict[str, int]:
        """All limits by name."""
        return msgspec.structs.asdict(self)


class Log(Section, frozen=True):
    """Structured logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Lowest level of messages that are written."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto``: coloured lines on a terminal, else JSON."""
