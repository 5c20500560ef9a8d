"""Faults to inject. They are in the world's file, so a test can set them for worker processes.

    cloud.faults.fail("create_volume", "OutOfCapacity")            # the next one
    cloud.faults.delay("attach_volume", 3.0, times=None)           # all from now on
    cloud.faults.lose("create_*", nth=2, about="share/17")         # effect, then no answer
    cloud.faults.kill("*", nth=9, when="after")                    # SIGKILL after the 9th effect
    cloud.faults.cut_off(instance_id)                              # its host is not reached

A call is named as in the ports (``create_volume``, ``apply_share``), or by a pattern over that
name or its long form (``guest.*``, ``volumes.*``). ``nth`` counts the matching calls since the
fault was set, in all processes and threads.
"""

from __future__ import annotations

import signal
import threading
import time
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Literal, get_args

from atoll import errors
from atoll.cloud.memory.world import World
from atoll.errors import AtollError, Invalid

Action = Literal["fail", "delay", "lose", "hang", "kill", "freeze", "cut_off"]
When = Literal["before", "after"]

_COLUMNS = "number, call, about, action, nth, times, after, error, message, seconds, seen"


@dataclass(frozen=True, slots=True)
class Fault:
    """A fault, and the calls that it affects."""

    call: str
    """Name or pattern of the calls that it affects."""
    action: Action
    about: str = ""
    """The fault affects only calls with this text in their summary: an owner, an id, a share."""
    nth: int = 1
    """The first matching call that it affects, counted from 1."""
    times: int | None = 1
    """How many calls in a row it affects from there on; None means all."""
    when: When = "after"
    """For ``kill`` and ``freeze``: before or after the call's effect."""
    error: str = "CloudUnavailable"
    """For ``fail``: an error class of ``atoll.errors``."""
    message: str = ""
    seconds: float = 3600
    """For ``delay`` and ``hang``: the longest time."""
    seen: int = 0
    """The number of matching calls until now."""
    number: int = field(default=0, compare=False)

    def __post_init__(self) -> None:
        if self.action not in get_args(Action):
            raise Invalid(f"{self.action!r} is not a kind of fault.")
        self.exception()

    def exception(self) -> AtollError:
        """The error that a failing call raises."""
        kind = getattr(errors, self.error, None)
        if not (isinstance(kind, type) and issubclass(kind, AtollError)):
            raise Invalid(f"{self.error!r} is not one of Atoll's errors.")
        return kind(self.message or f"Injected: {kind.__doc__}")

    def concerns(self, name: str, about: str) -> bool:
        """Whether a call is one of those that this fault counts."""
        short = name.partition(".")[2]
        return self.about in about and (
            fnmatchcase(short, self.call) or fnmatchcase(name, self.call)
        )

    @property
    def strikes(self) -> bool:
        """Whether it affects the call that was counted last."""
        past = self.seen - self.nth
        return past >= 0 and (self.times is None or past < self.times)


class Faults:
    """The faults that are set in a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def fail(
        self,
        call: str,
        error: str = "CloudUnavailable",
        message: str = "",
        *,
        nth: int = 1,
        times: int | None = 1,
        about: str = "",
    ) -> None:
        """Raise this error of ``atoll.errors`` instead of doing anything."""
        self.add(Fault(call, "fail", about, nth, times, error=error, message=message))

    def delay(
        self, call: str, seconds: float, *, nth: int = 1, times: int | None = 1, about: str = ""
    ) -> None:
        """Wait before the effect."""
        self.add(Fault(call, "delay", about, nth, times, seconds=seconds))

    def lose(self, call: str, *, nth: int = 1, times: int | None = 1, about: str = "") -> None:
        """Lose the answer: the effect happens, then ``CloudUnavailable`` (a guest's calls:
        ``GuestUnreachable``) is raised."""
        self.add(Fault(call, "lose", about, nth, times))

    def hang(self, call: str, *, nth: int = 1, about: str = "", seconds: float = 3600) -> None:
        """Delay effect and answer until ``clear``, or for ``seconds``; then act as ``lose``."""
        self.add(Fault(call, "hang", about, nth, seconds=seconds))

    def kill(self, call: str = "*", *, nth: int = 1, when: When = "after", about: str = "") -> None:
        """Kill the process that makes the call with SIGKILL."""
        self.add(Fault(call, "kill", about, nth, when=when))

    def freeze(
        self, call: str = "*", *, nth: int = 1, when: When = "after", about: str = ""
    ) -> None:
        """Stop the process that makes the call with SIGSTOP, while it holds no lock here."""
        self.add(Fault(call, "freeze", about, nth, when=when))

    def cut_off(self, instance_id: str) -> None:
        """Cut an instance's host off, until ``clear``.

        Neither the cloud nor Atoll reaches the instance, but its clients do. If the cloud deletes
        it, it nevertheless writes on to the volumes that it had.
        """
        self.add(Fault("", "cut_off", instance_id))

    def is_cut_off(self, instance_id: str) -> bool:
        """Whether an instance's host is cut off."""
        query = "SELECT 1 FROM faults WHERE action = 'cut_off' AND about = ?"
        return self._world.row(query, instance_id) is not None

    def add(self, fault: Fault) -> None:
        """Add a fault. Several may affect the same call."""
        with self._world.change():
            self._world.execute(
                f"INSERT INTO faults ({_COLUMNS}) VALUES (NULL, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)",  # noqa: S608
                fault.call,
                fault.about,
                fault.action,
                fault.nth,
                fault.times,
                fault.when == "after",
                fault.error,
                fault.message,
                fault.seconds,
            )

    def clear(self) -> None:
        """Remove all faults. Calls that hang continue."""
        with self._world.change():
            self._world.execute("DELETE FROM faults")

    def current(self) -> list[Fault]:
        """The current faults, with the number of calls that each has counted."""
        return [
            Fault(
                call, action, about, nth, times, "after" if after else "before",
                error, message, seconds, seen, number,
            )
            for number, call, about, action, nth, times, after, error, message, seconds, seen
            in self._world.rows(f"SELECT {_COLUMNS} FROM faults ORDER BY number")  # noqa: S608
        ]  # fmt: skip

    def count(self, name: str, about: str) -> tuple[Fault, ...]:
        """Count a call, and return the faults that affect it. Call this within a change."""
        if self._world.row("SELECT 1 FROM faults") is None:
            return ()
        concerned = [fault for fault in self.current() if fault.concerns(name, about)]
        for fault in concerned:
            self._world.execute("UPDATE faults SET seen = seen + 1 WHERE number = ?", fault.number)
        numbers = {fault.number for fault in concerned}
        return tuple(f for f in self.current() if f.number in numbers and f.strikes)

    def before(
        self, faults: tuple[Fault, ...], unanswered: type[AtollError], deadline: float
    ) -> None:
        """Apply faults before a call's effect. A call with a deadline hangs no longer than that."""
        for fault in faults:
            match fault.action:
                case "fail":
                    raise fault.exception()
                case "delay":
                    time.sleep(fault.seconds)
                case "hang":
                    self._hang(fault, deadline)
                    raise unanswered("Injected: no answer.")
                case "kill" | "freeze" if fault.when == "before":
                    self._signal(fault)

    def after(self, faults: tuple[Fault, ...], unanswered: type[AtollError]) -> None:
        """Apply faults after a call's effect."""
        for fault in faults:
            if fault.action in ("kill", "freeze") and fault.when == "after":
                self._signal(fault)
        if any(fault.action == "lose" for fault in faults):
            raise unanswered("Injected: the answer was lost.")

    def _hang(self, fault: Fault, deadline: float) -> None:
        end = time.monotonic() + min(fault.seconds, deadline)
        query = "SELECT 1 FROM faults WHERE number = ?"
        while time.monotonic() < end and self._world.row(query, fault.number):
            time.sleep(0.02)

    def _signal(self, fault: Fault) -> None:
        # If the process stopped during another thread's transaction, it would block the whole
        # world.
        with self._world.lock:
            number = signal.SIGKILL if fault.action == "kill" else signal.SIGSTOP
            # The signal is sent to this thread. If another took it, this one would run on for a
            # while.
            signal.pthread_kill(threading.get_ident(), number)
