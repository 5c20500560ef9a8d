"""``atoll operation``: list operations, and run one of them now."""

from __future__ import annotations

from contextlib import closing
from typing import Annotated

import typer

from atoll.cli.context import AsJson, database, show

app = typer.Typer(help="Long-running work.", no_args_is_help=True)


@app.command("list")
def operation_list(
    failed: Annotated[bool, typer.Option("--failed", help="Only failed operations.")] = False,
    as_json: AsJson = False,
) -> None:
    """List the queued and running operations, or the failed ones."""
    from atoll.db import operations
    from atoll.model.states import UNFINISHED_OPERATIONS, OperationStatus

    statuses = (OperationStatus.FAILED,) if failed else UNFINISHED_OPERATIONS
    with closing(database()) as opened, opened.read() as connection:
        found = operations.in_status(connection, statuses)
    columns = ("resource", "status", "attempts", "owner", "waits_for", "created_at", "error")
    show(found, columns, as_json)


@app.command("retry")
def operation_retry(resource: str) -> None:
    """Run the operation of a resource now, e.g. 'share/<id>'.

    'reconcile/all' runs the reconcile pass now. A resource that has no row is refused.
    """
    from atoll.lifecycle import asked

    with closing(database()) as opened, opened.begin() as connection:
        asked.request_now(connection, resource)
    typer.echo(f"The operation of {resource} runs next.")
