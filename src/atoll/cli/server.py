"""``atoll server``: the commands, whose work is done by ``servers.py``."""

from __future__ import annotations

import sys
from contextlib import closing
from typing import Annotated

import typer

from atoll.cli.context import AsJson, database, settings, show
from atoll.errors import AtollError

app = typer.Typer(help="Share servers, one service instance each.", no_args_is_help=True)


@app.command("list")
def server_list(as_json: AsJson = False) -> None:
    """List the share servers: what they serve, whether they answer, and their service images."""
    from atoll.cli import servers

    with closing(database()) as rows:
        found = servers.as_rows(servers.listed(settings(), rows))
    columns = (
        "id",
        "status",
        "silent_since",
        "unfenced",
        "stands_in_for",
        "shares",
        "is_current",
        "image",
        "instance",
    )
    show(found, columns, as_json)


@app.command("recover")
def server_recover(
    server: Annotated[list[str] | None, typer.Argument(help="Only these servers.")] = None,
    every: Annotated[bool, typer.Option("--all", help="All servers that don't answer.")] = False,
) -> None:
    """Have instances restarted, or replaced, that don't answer together with many others.

    Atoll leaves them alone, because so many are hardly ever at fault at once: look at the network
    between the workers and the instances first. Clients of a share wait while its instance is
    restarted.
    """
    from atoll.cli import servers

    if bool(server) == every:
        raise typer.BadParameter("Name share servers, or give --all.")
    with closing(database()) as rows:
        found = servers.recover(rows, server or ())
    for server_id in found:
        typer.echo(f"{server_id}: is restarted, or replaced, if it still does not answer")
    if not found:
        typer.echo("All share servers answer.")


@app.command("fence")
def server_fence(
    server: Annotated[str, typer.Argument(help="Id of the share server.")],
    instance: Annotated[
        str, typer.Option(help="The instance, if it is not the one that 'server list' shows.")
    ] = "",
    yes: Annotated[bool, typer.Option("--yes", help="Confirm that it does not run.")] = False,
) -> None:
    """Confirm that a service instance does not run any more, so that it can be replaced.

    Atoll asks for this if the instance's host does not answer: the instance may still run there,
    and a second one would destroy the data of its shares. Look at the host first, and switch it or
    the instance off. The confirmation holds for this one instance, until its server answers again.
    """
    from atoll.cli import fence

    with closing(database()) as rows:
        doubt = fence.doubted(settings(), rows, server, instance)
        typer.echo(
            f"Instance {doubt.instance} of share server {server}, with {doubt.shares} shares:"
        )
        typer.echo(f"  {doubt.reason}")
        typer.echo("If it still runs, two instances write to the same volumes, and data is lost.")
        if not yes:
            _confirm()
        fence.confirm(rows, doubt)
    typer.echo("A worker replaces it now.")


def _confirm() -> None:
    """Ask at the terminal. Raises ``AtollError`` without one, or if the answer is no."""
    if not sys.stdin.isatty():
        raise AtollError(
            "This needs a confirmation.", hint="Add --yes if it does not run any more."
        )
    if not typer.confirm("Is it certain that it does not run any more?"):
        raise AtollError("Nothing was confirmed.")


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
