"""The program that the API's and the worker's process run.

``atoll api`` and ``atoll worker`` become it (exec), and ``atoll serve`` keeps both running. It is
not the ``atoll`` command itself, so that what a command needs to read its options and to paint its
tables does not stay in the memory of a process that runs for months.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Literal, NoReturn

from atoll.errors import AtollError

Role = Literal["api", "worker"]

PYTHON = [sys.executable, "-P", "-m"]
"""A module of ours follows. ``-P``: none is taken from the directory that we happen to be in."""

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""By default glibc keeps a heap for each of dozens of threads, and raises the size (here bytes)
from which it gives memory back at once, so that one long list is remembered for ever."""


def command(config_file: Path | None) -> list[str]:
    """The program and its first arguments; the role follows."""
    config = [] if config_file is None else ["--config", str(config_file)]
    return [*PYTHON, "atoll.cli.process", *config]


def environment() -> Mapping[str, str]:
    """The environment that both processes start with, but for what the operator has set."""
    return {**ALLOCATOR, **os.environ}


def become(role: Role, config_file: Path | None) -> NoReturn:
    """Replace this process by the program in that role."""
    sys.stdout.flush()
    arguments = [*command(config_file), role]
    os.execve(sys.executable, arguments, environment())  # noqa: S606 - no shell, our own interpreter


def run(role: str, config_file: Path | None) -> None:
    """Work in that role until told to stop."""
    # structlog would load it, and pygments, to paint tracebacks: 6 MiB in each process.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from atoll import config, log

    settings = config.load(config_file)
    log.configure(settings.log.level, settings.log.format)
    if role == "api":
        from atoll.cli import api

        api.run(settings)
    else:
        from atoll.cli import worker

        worker.run(settings)


def main() -> None:
    """``[--config FILE] ROLE``; an error of ours is one sentence, not a traceback."""
    *options, role = sys.argv[1:]
    try:
        run(role, Path(options[1]) if options else None)
    except AtollError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
