"""``atoll server``: the commands, whose work is done by ``servers.py``."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from atoll.cli.context import AsJson, database, settings, show

app = typer.Typer(help="Share servers, one service instance each.", no_args_is_help=True)


@app.command("list")
def server_list(as_json: AsJson = False) -> None:
    """List the share servers, and whether their instances boot the newest service image."""
    from atoll.cli import servers

    with closing(database()) as rows:
        found = servers.as_rows(servers.listed(settings(), rows))
    show(found, ("id", "status", "shares", "is_current", "image", "instance"), as_json)


@app.command("upgrade")
def server_upgrade(
    server: Annotated[list[str] | None, typer.Argument(help="Only these servers.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only list them.")] = False,
    timeout: Annotated[float, typer.Option(help="Longest time for each server in seconds.")] = 900,
) -> None:
    """Replace service instances that boot an older image, one after another.

    Addresses and shares do not change; clients of a share wait while its instance is replaced. The
    command ends at the first failure, and may be interrupted and run again. The work is done by
    workers, so at least one must run.
    """
    from atoll.cli import servers

    with closing(database()) as rows:
        wanted = servers.outdated(servers.listed(settings(), rows), server or ())
        if not wanted:
            typer.echo("All instances boot the newest image.")
        elif dry_run:
            for each in wanted:
                typer.echo(f"{each.id}: {each.shares} shares on {each.instance}")
        else:
            servers.upgrade(rows, wanted, timeout, typer.echo)
