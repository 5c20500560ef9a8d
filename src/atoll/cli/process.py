"""The program of the API process and of the worker process.

``atoll api`` and ``atoll worker`` exec it, and ``atoll serve`` keeps both running. It is not the
``atoll`` command itself, so that the libraries for options and tables do not use memory in a
process that runs for months.
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
"""A module follows. With ``-P`` no modules are imported from the present directory."""

ALLOCATOR = {
    "MALLOC_ARENA_MAX": "2",
    "MALLOC_MMAP_THRESHOLD_": "131072",
    "MALLOC_TRIM_THRESHOLD_": "131072",
}
"""By default glibc keeps a heap for each of dozens of threads, and raises the size (here bytes)
from which it gives memory back at once, so that one long list is remembered for ever."""


def command(config_file: Path | None) -> list[str]:
    """The program and its first arguments, which the role must follow."""
    config = [] if config_file is None else ["--config", str(config_file)]
    return [*PYTHON, "atoll.cli.process", *config]


def environment() -> Mapping[str, str]:
    """The environment of both processes. Variables that the operator has set take precedence."""
    return {**ALLOCATOR, **os.environ}


def become(role: Role, config_file: Path | None) -> NoReturn:
    """Replace this process by the program in that role."""
    sys.stdout.flush()
    arguments = [*command(config_file), role]
    os.execve(sys.executable, arguments, environment())  # noqa: S606 - no shell, our own interpreter


def run(role: str, config_file: Path | None) -> None:
    """Run in that role until a signal."""
    # structlog would import rich and pygments for coloured tracebacks: 6 MiB in each process.
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
    """Run ``[--config FILE] ROLE``; show Atoll's own errors as a sentence."""
    *options, role = sys.argv[1:]
    try:
        run(role, Path(options[1]) if options else None)
    except AtollError as error:
        print(f"Error: {error}", file=sys.stderr)
        sys.exit(1)


if __name__ == "__main__":
    main()
