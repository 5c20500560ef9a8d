"""The commands. Each imports what it needs only when it runs, so that all start quickly."""

from __future__ import annotations

import json
import sys
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from atoll import __version__
from atoll.cli import operation, orphan, restore, server
from atoll.cli.context import AsJson, State, console, database, settings, show
from atoll.cli.progress import make_console
from atoll.errors import AtollError

if TYPE_CHECKING:
    from atoll.cli.catalog import Change

app = typer.Typer(
    help="Self-service NFS and SMB shares.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
image_app = typer.Typer(help="The image that service instances boot.", no_args_is_help=True)
token_app = typer.Typer(help="Bearer tokens (auth_strategy = token).", no_args_is_help=True)
project_app = typer.Typer(help="Projects (auth_strategy = token).", no_args_is_help=True)
keystone_app = typer.Typer(help="Atoll in Keystone's catalog.", no_args_is_help=True)
app.add_typer(image_app, name="image")
app.add_typer(token_app, name="token")
app.add_typer(project_app, name="project")
app.add_typer(server.app, name="server")
app.add_typer(operation.app, name="operation")
app.add_typer(orphan.app, name="orphan")
app.add_typer(restore.app, name="restore")
app.add_typer(keystone_app, name="keystone")

Region = Annotated[str, typer.Option(help="Keystone's region; needed if there are several.")]


@app.callback()
def options(
    config: Annotated[
        Path | None,
        typer.Option(help="Configuration file.", envvar="ATOLL_CONFIG", show_default=False),
    ] = None,
) -> None:
    """Self-service NFS and SMB shares."""
    State.config_file = config


@app.command()
def version() -> None:
    """Print the version."""
    typer.echo(__version__)


@app.command()
def serve() -> None:
    """Run Atoll on this machine: API and worker. What they need is made if it is missing."""
    from atoll.cli.serve import serve as run

    run(settings(), State.config_file, console)


@app.command()
def api() -> None:
    """Run only the API (see also 'worker')."""
    from atoll.cli.process import become

    become("api", State.config_file)


@app.command()
def worker() -> None:
    """Run only a worker; several workers may share a PostgreSQL database."""
    from atoll.cli.process import become

    become("worker", State.config_file)


@app.command()
def bootstrap() -> None:
    """Make what a first user needs: image, project, token, share type, share network.

    'atoll serve' does this automatically. Run it once before 'atoll api' and 'atoll worker'.
    """
    from atoll.cli.bootstrap import prepare
    from atoll.cli.image import ensure_image

    chosen = settings()
    prepared = prepare(chosen, database())  # first, because it refuses foreign databases
    if chosen.cloud == "local":
        ensure_image(chosen, console)
    first = f" The first token is in {prepared.token_file}."
    typer.echo(f"Ready.{first if chosen.api.auth_strategy == 'token' else ''}")


@app.command()
def doctor(as_json: AsJson = False) -> None:
    """Find present and coming problems, and say what to do about them."""
    from atoll.cli.doctor import examine

    findings = examine(settings())
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            mark = "[green]ok  [/]" if finding.ok else "[red]FAIL[/]"
            console.print(
                f"{mark} {finding.check}: {finding.detail}", highlight=False, soft_wrap=True
            )
            if not finding.ok and finding.todo:
                console.print(f"     → {finding.todo}", highlight=False, soft_wrap=True)
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)


@app.command()
def upgrade() -> None:
    """Upgrade the database's schema (API and worker also do this at their start)."""
    database()
    typer.echo("The schema is up to date.")


@app.command()
def claim(
    yes: Annotated[
        bool, typer.Option("--yes", help="Confirm that no other worker uses these shares.")
    ] = False,
) -> None:
    """Assign this database, at its present place, and this cloud to the deployment.

    Use it after the database was moved or the cloud was set up again. Until then, workers, 'purge'
    and 'orphan' refuse a copy of the database and another cloud.
    """
    if not yes:
        raise AtollError(
            "Two databases that manage the same shares destroy them, and in another cloud all"
            " shares count as lost.",
            hint="'atoll doctor' shows what differs. Add --yes if this is the right one.",
        )
    from atoll.cli.clouds import claim_cloud

    with closing(database()) as opened:
        here, place = claim_cloud(settings(), opened)
    typer.echo(f"The database is {here}.\nIts shares are {place}.")


@app.command()
def purge(
    yes: Annotated[bool, typer.Option("--yes", help="Confirm: ALL shares and their data.")] = False,
    insist: Annotated[
        bool,
        typer.Option("--even-under-a-live-worker", help="Even if a worker is alive."),
    ] = False,
) -> None:
    """Remove everything that this deployment has made in its cloud, including all data.

    The command refuses while a worker of the deployment is alive: stop the worker first.
    """
    if not yes:
        raise AtollError(
            "This destroys all shares of this deployment.", hint="Add --yes to confirm."
        )
    from atoll.cli.purge import purge as run

    for line in run(settings(), insist=insist):
        typer.echo(line)


@image_app.command("build")
def image_build(
    fresh: Annotated[
        bool, typer.Option("--fresh", help="Build it again, for security updates of its packages.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Build the service image, or find it in the cache."""
    from atoll.cli.image import build

    built = build(settings(), make_console(stderr=True) if as_json else console, fresh=fresh)
    facts = {"path": str(built.path), "checksum": built.checksum}
    show([facts], ("path", "checksum"), as_json)


@image_app.command("upload")
def image_upload(as_json: AsJson = False) -> None:
    """Upload the service image to Glance, unless Glance has it already."""
    from atoll.cli.image import upload

    image = upload(settings(), make_console(stderr=True) if as_json else console)
    facts = {"id": image.id, "name": image.name, "checksum": image.checksum}
    show([facts], ("id", "name", "checksum"), as_json)


@project_app.command("create")
def project_create(name: str, as_json: AsJson = False) -> None:
    """Create a project."""
    from atoll.db import projects

    with database().begin() as connection:
        row = projects.create(connection, name)
    show([row], ("id", "name"), as_json)


@project_app.command("list")
def project_list(as_json: AsJson = False) -> None:
    """List the projects."""
    from atoll.db import projects

    with database().read() as connection:
        show(projects.every(connection), ("id", "name"), as_json)


@token_app.command("create")
def token_create(
    project: str,
    name: Annotated[str, typer.Option(help="Name of the token.")] = "token",
    role: Annotated[list[str] | None, typer.Option(help="admin, member or reader.")] = None,
) -> None:
    """Create a token for a project (name or id) and print it. It is shown only once."""
    from atoll.db import projects, tokens

    with database().begin() as connection:
        owner = projects.find(connection, project)["id"]
        typer.echo(tokens.create(connection, name, owner, user_id=name, roles=role or ["member"]))


@token_app.command("list")
def token_list(as_json: AsJson = False) -> None:
    """List the tokens with their hashes; the tokens themselves are not stored.

    Those that are 'held' came with a restored backup, and are refused until it is released.
    """
    from atoll.db import tokens

    with database().read() as connection:
        found = tokens.every(connection)
    for row in found:
        row["hash"] = row["hash"][: tokens.HASH_DIGITS]
    show(found, ("hash", "name", "project_id", "roles", "created_at", "held"), as_json)


@token_app.command("revoke")
def token_revoke(
    name_or_hash: str,
    project: Annotated[str, typer.Option(help="Only tokens of this project (name or id).")] = "",
    all_of_them: Annotated[
        bool, typer.Option("--all", help="Revoke all tokens that match.")
    ] = False,
) -> None:
    """Revoke one token, by its name or the beginning of its hash."""
    from atoll.db import projects, tokens

    with database().begin() as connection:
        owner = projects.find(connection, project)["id"] if project else None
        gone = tokens.revoke(connection, name_or_hash, project_id=owner, all_of_them=all_of_them)
    for row in gone:
        typer.echo(f"Revoked {tokens.described(row)}.")


@keystone_app.command("register")
def keystone_register(
    url: Annotated[str, typer.Option(help="URL by which clients reach the API.")] = "",
    region: Region = "",
    interface: Annotated[
        str, typer.Option(help="Which endpoints to register.")
    ] = "public,internal,admin",
    service_user: Annotated[
        bool, typer.Option("--service-user", help="Also make the service user.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Register Atoll in Keystone's catalog, or correct its entries. It may be run again.

    It needs an administrator's credentials: OS_CLOUD, or the other OS_… variables.
    """
    changes = _keystone().register(
        settings(), url=url, region=region, interface=interface, with_user=service_user
    )
    _show_changes(changes, as_json)


@keystone_app.command("unregister")
def keystone_unregister(
    region: Region = "",
    service_user: Annotated[
        bool, typer.Option("--service-user", help="Also delete the user.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Remove Atoll from Keystone's catalog; endpoints in other regions remain."""
    changes = _keystone().unregister(settings(), region=region, with_user=service_user)
    _show_changes(changes, as_json)


def _keystone() -> ModuleType:
    try:
        from atoll.cli import keystone
    except ImportError as error:
        raise AtollError(
            f"The libraries for OpenStack are not installed: {error}.",
            hint="Install Atoll with its extra [openstack].",
        ) from error
    return keystone


def _show_changes(changes: list[Change], as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps([asdict(change) for change in changes], indent=2))
        return
    for change in changes:
        url = f": {change.url}" if change.url else ""
        typer.echo(f"{change.change:<8}{change.kind} {change.name}{url}")
    if all(change.change == "kept" for change in changes):
        typer.echo("Nothing changed.")


def main() -> None:
    """Run a command. Atoll's own errors are shown as a sentence and a hint, without traceback."""
    try:
        app()
    except AtollError as error:
        typer.secho(f"Error: {error}", fg="red", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
