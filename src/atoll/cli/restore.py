"""``atoll restore``: what to do after the database was restored; ``restored.py`` does the work."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Annotated

import typer

from atoll.cli.context import AsJson, console, database, settings
from atoll.errors import AtollError

app = typer.Typer(help="After the database was restored from a backup.", no_args_is_help=True)


@app.command("begin")
def begin() -> None:
    """Say that the database was restored, before the API and a worker start.

    Until 'atoll restore release', workers touch nothing that the database does not know, tokens of
    the backup are refused, and access rules of the backup admit nobody anew. Workers notice most
    restores themselves; this command does not depend on that. It may be run again.
    """
    from atoll.db import restores

    with closing(database()) as rows, rows.begin() as connection:
        restore = restores.begin(connection, "An operator has said so.")
    typer.echo(
        f"The restore is held since {restore.began_at[:19]} UTC.\n"
        "Next: 'atoll token create PROJECT --role admin' makes a token that works now, and 'atoll "
        "restore check' compares the database with the cloud."
    )


@app.command("check")
def check(as_json: AsJson = False) -> None:
    """Compare the database with the cloud and the service instances; change nothing.

    The command ends with status 1 if anything differs, or could not be compared.
    """
    from atoll.cli import restored

    with closing(database()) as rows:
        found = restored.compare(settings(), rows)
    if as_json:
        typer.echo(json.dumps(restored.as_json(found), indent=2))
    else:
        for line in restored.described(found):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
    raise typer.Exit(0 if found.is_clean else 1)


@app.command("release")
def release(
    keep_tokens: Annotated[
        bool | None,
        typer.Option(
            "--keep-tokens/--revoke-tokens",
            help="Accept the backup's tokens again, or delete them.",
            show_default=False,
        ),
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
) -> None:
    """End the hold: from then on, workers make everything match the database.

    The command first shows what that changes, and asks.
    """
    from atoll.cli import restored

    with closing(database()) as rows:
        plan = restored.plan(settings(), rows)
        if plan is None:
            typer.echo("No restore waits for its release.")
            return
        if keep_tokens is None and plan.found.tokens:
            raise AtollError(
                f"{len(plan.found.tokens)} tokens came with the backup; some may have been revoked "
                "since.",
                hint="'atoll restore check' lists them. Add --keep-tokens or --revoke-tokens; "
                "single ones can be revoked before by 'atoll token revoke'.",
            )
        for line in restored.plan_described(plan, keep_tokens=bool(keep_tokens)):
            console.print(line, markup=False, highlight=False, soft_wrap=True)
        if not yes and not typer.confirm("Release the restore?"):
            raise typer.Exit(1)
        restored.release(rows, plan, keep_tokens=bool(keep_tokens))
    typer.echo("The restore is released.")
