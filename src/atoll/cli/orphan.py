"""``atoll orphan``: lists and removes resources in the cloud that belong to no row."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING, Annotated

import typer

from atoll.cli.context import AsJson, database, settings, show
from atoll.errors import AtollError, Conflict, NotFound

if TYPE_CHECKING:
    from atoll.db.database import Database
    from atoll.lifecycle.orphans import Found

app = typer.Typer(help="Resources in the cloud that belong to no row.", no_args_is_help=True)


@app.command("list")
def list_orphans(as_json: AsJson = False) -> None:
    """List resources in the cloud that carry this deployment's tag and belong to no row.

    The next reconcile pass removes those that have a time 'removed_at'. The database does not know
    the owners of the others, which are kept until you remove them.
    """
    with closing(database()) as rows:
        found = _look(rows)
    for kind, error in found.unseen.items():
        typer.echo(f"Not listed: {kind}: {error}", err=True)
    shown = [
        {"kind": each.kind, "id": each.id, "owner": each.owner, "removed_at": each.removed_at}
        for each in found.orphans
    ]
    show(shown, ("owner", "kind", "id", "removed_at"), as_json)


@app.command("remove")
def remove_orphan(
    owner: Annotated[str, typer.Argument(help="As listed, e.g. 'share/<id>'.")],
    yes: Annotated[bool, typer.Option("--yes", help="Confirm the loss of its data.")] = False,
) -> None:
    """Remove all resources of an owner without a row, including data, in the next pass."""
    from atoll.db import owners, restores
    from atoll.engine.queue import enqueue

    with closing(database()) as rows:
        its = [str(orphan) for orphan in _look(rows).orphans if orphan.owner == owner]
        if not its:
            raise NotFound(
                f"There are no orphans of the owner {owner}.",
                hint="'atoll orphan list' shows the owners.",
            )
        if not yes:
            raise AtollError(f"This destroys {'; '.join(its)}.", hint="Add --yes to confirm.")
        with rows.begin() as connection:
            if owners.exists(connection, owner):
                raise Conflict(f"{owner} has a row again.", hint="Delete it by the API.")
            owners.remember(connection, owner)
            enqueue(connection, "reconcile/all")
            is_held = restores.held(connection) is not None
    which = "first pass after 'atoll restore release'" if is_held else "next pass"
    typer.echo(f"The {which} removes {'; '.join(its)}.")


def _look(rows: Database) -> Found:
    from atoll.cli.clouds import open_own_cloud
    from atoll.lifecycle.orphans import Orphans

    with closing(open_own_cloud(settings(), rows)) as cloud:
        return Orphans(cloud, rows).find()
