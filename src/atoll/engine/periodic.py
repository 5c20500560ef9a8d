"""Work that comes back: one worker of all runs it, and a dead worker's turn is taken over."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from atoll.engine.operation import Operation


@dataclass(frozen=True)
class Periodic:
    """A handler whose one resource, ``<name>/all``, converges every ``interval`` seconds.

    Give it to the worker as ``handlers={"reconcile": Periodic("reconcile", 60.0, pass_over)}``.
    ``function`` should be done well within a minute or call ``operation.check()`` on its way.
    """

    name: str
    interval: float
    function: Callable[[Operation], None]
