"""Writes the reference pages that follow from the code: configuration, commands, routes, states.

    uv run python docs/generate.py

A test fails while a page differs from what this program would write.
"""

from __future__ import annotations

import inspect
import json
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
import typer
from msgspec.structs import FieldInfo
from source import NOTICE, docstrings, markdown
from states_page import states

from atoll import config
from atoll.api import app as api
from atoll.api.frame import versions
from atoll.api.frame.openapi import document, with_document
from atoll.api.frame.routing import Handler
from atoll.cli.main import app as commands

REFERENCE = Path(__file__).parent / "reference"

CONFIGURATION = """\
# Configuration

Atoll reads one TOML file: the one that `--config` or `ATOLL_CONFIG` names, else
`/etc/atoll/atoll.toml`. No file is needed: each option has a default. An unknown option, or a
value of the wrong kind, is an error that names it.

Any option can also be set by an environment variable, which wins over the file: `ATOLL_<OPTION>`
for those outside a table, `ATOLL_<TABLE>__<OPTION>` for the others, e.g.
`ATOLL_API__PORT=8787`. A list is written as JSON there: `["NFS"]`.

```toml
cloud = "local"

[api]
host = "127.0.0.1"

[quota]
shares = 100
```

Options mean what Manila's options of the same name mean. Sizes are GiB and times are seconds
unless an option says otherwise. Programs read the file when they start; the policy file alone is
read again when it changes.
"""

CLI = """\
# Commands

`atoll` is for operators, on the machine itself. Users have the ordinary `openstack share`
commands ([clients](../howto/clients.md)).

`--config FILE`, before the command, names the [configuration file](configuration.md). Commands
with `--json` print JSON. A command that fails says why in one sentence on standard error and ends
with status 1.

`token`, `project`, `operation` and `upgrade` work on the database alone: neither API nor worker
need run.
"""

ROUTES = """\
# Routes

Everything below `/v2`, with the microversions at which it is there. `/v2/{project_id}/…` leads
to the same. A name in *italics* is an action: `POST` to `/action` below the path, with the name
as the body's one key. Up to 2.6 most actions have the prefix `os-`. An experimental route is
there only for requests with the header `X-OpenStack-Manila-API-Experimental: True`.
[What the API does](api.md) is a page of its own.

`GET /`, `/v2/`, `/healthcheck` and `/metrics` are there for everybody, without a token. With a
token, `GET /v2/openapi.json?version=2.65` answers with the OpenAPI 3.1 document of a microversion;
that of the newest one is {download}`here <openapi.json>`.

| Path | Method or action | Microversions | Policy rule |
|---|---|---|---|
"""


# --- configuration ----------------------------------------------------------------------------


def configuration() -> str:
    """The page of options, table by table."""
    fields = msgspec.structs.fields(config.Settings)
    tables = {field.name: field.type for field in fields if _is_table(field.type)}
    text = NOTICE + CONFIGURATION + "\n## Outside any table\n\n"
    text += "".join(_options(config.Settings))
    for name, table in tables.items():
        text += f"\n## `[{name}]`\n\n{markdown(inspect.getdoc(table))}\n\n"
        text += "".join(_options(table))
    return text


def _is_table(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, config.Section)


def _options(table: type[config.Section]) -> Iterator[str]:
    meanings = docstrings(table)
    yield "| Option | Default | Values | Meaning |\n|---|---|---|---|\n"
    for field in msgspec.structs.fields(table):
        if not _is_table(field.type):
            meaning = markdown(meanings[field.name])
            yield f"| `{field.name}` | {_default(field)} | {_values(field.type)} | {meaning} |\n"


def _default(field: FieldInfo) -> str:
    value = field.default
    if value is msgspec.NODEFAULT:
        return "this machine's name"
    if value is None or value == "":
        return "(none)"
    if isinstance(value, str | Path):
        return f'`"{value}"`'
    return f"`{json.dumps(value)}`"


def _values(kind: Any) -> str:
    origin, arguments = get_origin(kind), get_args(kind)
    if origin is Annotated:
        signs = {"ge": "≥", "gt": ">", "le": "≤"}
        bounds = {sign: getattr(arguments[1], name) for name, sign in signs.items()}
        known = [f"{sign} {bound}" for sign, bound in bounds.items() if bound is not None]
        return ", ".join([_values(arguments[0]), *known])
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is tuple:
        return f"list of {_values(arguments[0])}"
    if origin in (Union, types.UnionType):
        return _values(arguments[0])
    names = {bool: "`true`, `false`", int: "integer", float: "number", str: "text", Path: "path"}
    names |= {config.Cidr: "address range", config.SshHost: "text"}
    return names[kind]


# --- commands ---------------------------------------------------------------------------------


def cli() -> str:
    """The page of commands."""
    return NOTICE + CLI + "".join(_command("atoll", typer.main.get_command(commands)))


def _command(name: str, command: Any) -> Iterator[str]:
    subcommands = getattr(command, "commands", None)
    if subcommands is None:
        yield f"\n## `{name}`\n\n{command.help}\n"
        yield from _parameters(command, name)
        return
    for subname, sub in subcommands.items():
        yield from _command(f"{name} {subname}", sub)


def _parameters(command: Any, name: str) -> Iterator[str]:
    arguments = [one for one in command.params if one.param_type_name == "argument"]
    options = [one for one in command.params if one.param_type_name == "option"]
    options = [one for one in options if "--help" not in one.opts]
    words = [name, *(one.name.upper() for one in arguments)]
    words += ["[options]"] if options else []
    yield f"\n```text\n{' '.join(words)}\n```\n"
    if not options:
        return
    yield "\n| Option | Default | Meaning |\n|---|---|---|\n"
    for one in options:
        spelling = ", ".join(f"`{word}`" for word in one.opts)
        default = "" if one.is_flag or one.default is None else f"`{one.default}`"
        yield f"| {spelling} | {default} | {one.help} |\n"


# --- routes -----------------------------------------------------------------------------------


def routes() -> str:
    """The page of routes."""
    lines = []
    for module in api.RESOURCES:
        for path, methods in module.routes.methods.items():
            for method, handlers in methods.items():
                lines += [_route(path, method, handler) for handler in handlers]
        for path, actions in module.routes.actions.items():
            for action, handlers in actions.items():
                if not action.startswith("os-"):
                    lines += [_route(path, f"*{action}*", handler) for handler in handlers]
    return NOTICE + ROUTES + "".join(sorted(lines, key=lambda line: line.split("|")[1]))


def _route(path: str, method: str, handler: Handler) -> str:
    since, until = versions.text(handler.since), versions.text(handler.until)
    there = f"{since} to {until}" if handler.until < versions.ALWAYS else f"from {since}"
    if handler.stable >= versions.ALWAYS:
        there += ", experimental"
    elif handler.stable > versions.LOWEST:
        there += f", experimental below {versions.text(handler.stable)}"
    rule = f"`{handler.policy}`" if handler.policy else "(everybody with a token)"
    return f"| `{path}` | {method} | {there} | {rule} |\n"


def openapi() -> str:
    """The OpenAPI document of the newest microversion."""
    routes = with_document([module.routes for module in api.RESOURCES])
    return json.dumps(document(routes, versions.HIGHEST), indent=1, ensure_ascii=False) + "\n"


PAGES: dict[Path, Callable[[], str]] = {
    REFERENCE / "configuration.md": configuration,
    REFERENCE / "cli.md": cli,
    REFERENCE / "routes.md": routes,
    REFERENCE / "states.md": states,
    REFERENCE / "openapi.json": openapi,
}


if __name__ == "__main__":
    for page, write in PAGES.items():
        page.write_text(write(), encoding="utf-8")
