"""What all commands need: the settings, the database, and the output of tables and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from atoll.cli.progress import make_console
from atoll.config import Settings, load

if TYPE_CHECKING:
    from atoll.db.database import Database

AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]

console = make_console()


class State:
    """The values of the options before the command."""

    config_file: Path | None = None


def settings() -> Settings:
    """The settings of this call. Logs go to standard error from now on."""
    from atoll import log

    chosen = load(State.config_file)
    log.configure("debug" if chosen.log.level == "debug" else "warning", chosen.log.format)
    return chosen


def database() -> Database:
    """The database of this call, after an upgrade of its schema."""
    from atoll.db.database import Database
    from atoll.db.migrations import upgrade

    chosen = settings()
    chosen.make_state_dir()
    found = Database.of(chosen)
    upgrade(found)
    return found


def show(found: Sequence[Mapping[str, Any]], columns: tuple[str, ...], as_json: bool) -> None:
    """Print rows as a table, or as JSON."""
    if as_json:
        typer.echo(json.dumps(found, indent=2, default=str))
        return
    # Ids are never cut off, because users copy them, even from a narrow terminal.
    first, *others = columns
    table = Table(box=None, pad_edge=False)
    table.add_column(first, no_wrap=True)
    for name in others:
        table.add_column(name, overflow="fold")
    for row in found:
        table.add_row(*("" if row[name] is None else str(row[name]) for name in columns))
    console.print(table)
