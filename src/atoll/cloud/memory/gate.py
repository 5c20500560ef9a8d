"""The gate that every call to the simulated cloud passes: journal, faults, latency.

``@call`` and ``@waiting_call`` mark the methods of the ports. If no fault is injected, a call's
journal line and its effect are one transaction.
"""

from __future__ import annotations

import functools
import inspect
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from atoll.cloud.memory.faults import Fault, Faults
from atoll.cloud.memory.journal import Journal
from atoll.cloud.memory.world import World
from atoll.errors import AtollError, CloudUnavailable


class Gate:
    """What a world's calls in this process pass before they take effect."""

    def __init__(
        self, world: World, faults: Faults, journal: Journal, latency: Mapping[str, float]
    ) -> None:
        self.world = world
        self.faults = faults
        self.journal = journal
        self.latency = latency

    def enter(self, name: str, about: str) -> tuple[Fault, ...]:
        """Record and count a call. Returns the faults that affect it. Call this within a change."""
        if self.journal.on:
            self.journal.write(name, about)
        return self.faults.count(name, about)

    def wait(self, name: str) -> None:
        """Wait for the call's latency."""
        if self.latency:
            seconds = self.latency.get(name.partition(".")[2], self.latency.get("*", 0.0))
            if seconds:
                time.sleep(seconds)


class Gated(Protocol):
    """An object whose calls pass the gate."""

    gate: Gate
    port: str
    """The name of the port, with which its calls begin in the journal."""
    unanswered: type[AtollError] = CloudUnavailable
    """The error for a lost answer."""

    def subject(self) -> str:
        """Text for the journal about what all calls of this object concern, or an empty string."""


S = TypeVar("S", bound=Gated)
P = ParamSpec("P")
R = TypeVar("R")
Method = Callable[Concatenate[S, P], R]


def call(method: Method[S, P, R]) -> Method[S, P, R]:
    """A call whose effect is one transaction."""

    deadline = _deadline_of(method)

    @functools.wraps(method)
    def gated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        gate, name = self.gate, f"{self.port}.{method.__name__}"
        gate.wait(name)
        with gate.world.change():
            faults = gate.enter(name, _summary(self.subject(), *args, *kwargs.values()))
            if not faults:
                return method(self, *args, **kwargs)
        gate.faults.before(faults, self.unanswered, deadline(args, kwargs))
        with gate.world.change():
            result = method(self, *args, **kwargs)
        gate.faults.after(faults, self.unanswered)
        return result

    return gated


def waiting_call(method: Method[S, P, R]) -> Method[S, P, R]:
    """A call that may wait, and therefore makes its transactions itself."""

    deadline = _deadline_of(method)

    @functools.wraps(method)
    def gated(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        gate, name = self.gate, f"{self.port}.{method.__name__}"
        gate.wait(name)
        with gate.world.change():
            faults = gate.enter(name, _summary(self.subject(), *args, *kwargs.values()))
        gate.faults.before(faults, self.unanswered, deadline(args, kwargs))
        result = method(self, *args, **kwargs)
        gate.faults.after(faults, self.unanswered)
        return result

    return gated


def _deadline_of(
    method: Callable[..., object],
) -> Callable[[Sequence[object], Mapping[str, object]], float]:
    """A function that finds a call's ``deadline`` in its arguments. Without one it is infinite."""
    parameters = inspect.signature(method).parameters
    if "deadline" not in parameters:
        return lambda _args, _kwargs: math.inf
    position = list(parameters).index("deadline") - 1  # without self
    default = parameters["deadline"].default

    def deadline(args: Sequence[object], kwargs: Mapping[str, object]) -> float:
        value = args[position] if len(args) > position else kwargs.get("deadline", default)
        return float(value)  # type: ignore[arg-type]

    return deadline


def _summary(*values: object) -> str:
    return " ".join(filter(None, map(_text, values)))


def _text(value: object) -> str:
    """A value as the journal shows it: a plain value, or the owner of a specification."""
    if isinstance(value, str):
        return value
    if isinstance(value, (int, float)):
        return str(value)
    for name in ("owner", "share_id", "address"):
        if (text := getattr(value, name, None)) is not None:
            return str(text)
    return ""
