"""Numbers in the pages' prose are those of the code: tries, seconds, limits and defaults."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from inspect import signature
from pathlib import Path

import msgspec
import pytest

from atoll.api.auth import keystone, token
from atoll.cloud.local import layers
from atoll.cloud.local.networks import SMALLEST
from atoll.config import Settings
from atoll.db import messages, owners, services, tokens
from atoll.engine import upkeep
from atoll.engine.retry import Retry
from atoll.engine.worker import Worker
from atoll.image import build
from atoll.lifecycle import doctor, failed
from atoll.lifecycle.guard import Guard
from tests.docs.pages import DOCS, PAGES, ROOT

CHOSEN = [page for page in PAGES if page.parent.name != "decisions"]
"""Decisions say what was true when they were made."""

_OPTION = r"`(?P<option>[a-z]+\.[a-z_]+)`"
_NUMBER = r"(?P<number>\d[\d,]*)(?: (?P<unit>s|GiB|KiB))?"
_STATED = (
    re.compile(rf"{_OPTION}[^`()|.;]{{0,40}}\({_NUMBER}\)"),
    re.compile(rf"(?<![\w.:/]){_NUMBER}[^`()|.;]{{0,40}}\({_OPTION}\)"),
)
_UNITS = {"KiB": 1024}


def _api_constant(module: str, name: str) -> int:
    """The value of a constant of the API, wherever below ``api`` the module is."""
    (path,) = (ROOT / "src/atoll/api").rglob(f"{module}.py")
    for one in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(one, ast.AnnAssign | ast.Assign) and one.value is not None:
            target = one.target if isinstance(one, ast.AnnAssign) else one.targets[0]
            if ast.unparse(target) == name:
                return int(ast.literal_eval(one.value))
    raise LookupError(f"{path} has no constant {name}")


def _time(seconds: float) -> str:
    return "an hour" if seconds == 3600 else f"{seconds:.0f} s"


def _default(function: object, name: str) -> float:
    return float(signature(function).parameters[name].default)  # type: ignore[arg-type]


def _guard() -> str:
    return _time(_default(Guard, "interval"))


LANE = f"{_default(Worker, 'lane_width'):.0f}"
NEWEST = f"2.{_api_constant('versions', 'HIGHEST')}"
METADATA = _api_constant("metadata", "LARGEST_COUNT")
METADATA_KIB = _api_constant("metadata", "LARGEST_BYTES") // 1024
SPECS = _api_constant("extra_specs", "LARGEST_COUNT")
RULES = f"{_api_constant('access_rules', 'MAX_RULES'):,}"
DOWN = _time(services.DOWN_AFTER)
TRIES = f"{Retry.tries} times or for {_time(Retry.age)}"
PAUSES = f"pauses of {_time(Retry.first)} to {_time(Retry.longest)}"

FACTS = {
    "explanation/design.md": (
        f"with {PAUSES}, for at most {Retry.tries} tries or {_time(Retry.age)}",
        f"a worker runs at most {LANE} at once",
        f"blocks {LANE} threads",
        f"with the wanted one every {_guard()}",
    ),
    "explanation/service-image.md": (f"older than {build._KEEP_SECONDS // 86400} days",),
    "howto/clients.md": (f"microversions 2.0 to {NEWEST}",),
    "howto/keystone.md": (
        f"remembers for {_time(keystone.REMEMBERED_SECONDS)} what Keystone",
        f"is asked every {_time(keystone.REMEMBERED_SECONDS)} about",
    ),
    "howto/openstack.md": (f"with the wanted one every {_guard()}",),
    "howto/recover.md": (
        f"`worker.reconcile_interval` up to {_time(failed.LONGEST_PAUSE)}",
        f'`"worker":"down"` {DOWN} after',
        f"at most {TRIES}, after {PAUSES}",
        f"remembered for {owners.REMEMBERED_FOR.days} days",
        f"leftovers that {doctor.SOON_GONE} passes could not remove",
        f"Every {_time(upkeep.INTERVAL)} the workers look",
        f"more than {DOWN} in the future",
    ),
    "howto/tokens-and-projects.md": (
        f"at least {tokens.SHORTEST_PREFIX} digits of its hash",
        f"for at most {_time(token.REMEMBERED_SECONDS)} more",
        f"within {_api_constant('policy', '_RELOAD_SECONDS')} s of a change",
    ),
    "reference/api.md": (f"Microversions 2.0 to {NEWEST} are",),
    "reference/limits.md": (
        f"| access rules of one share | {RULES};",
        f"(cloud `local`) | {layers.DEEPEST} |",
        f"| prefix length of a share network | at most {SMALLEST} |",
        f"| tries of an operation | {Retry.tries}, or {_time(Retry.age)} |",
        f"of one share server {LANE} |",
        f"| a worker is shown as down after | {DOWN} |",
        f"| a revoked token still works for | {_time(token.REMEMBERED_SECONDS)} |",
        f"| {METADATA} keys; {METADATA_KIB} KiB of keys and values",
        f"| extra specs of a share type | {SPECS} |",
        f"| the newest {messages.MOST:,}, each for {messages.KEPT_FOR.days} days |",
    ),
    "tutorial/first-share.md": (
        f"removed {Settings().driver.unused_share_server_cleanup_interval / 60:.0f} minutes after",
    ),
}


@pytest.mark.parametrize(("page", "facts"), FACTS.items(), ids=list(FACTS))
def test_numbers_are_those_of_the_code(page: str, facts: tuple[str, ...]) -> None:
    text = " ".join((DOCS / page).read_text(encoding="utf-8").split())
    assert [fact for fact in facts if fact not in text] == []


def _stated(page: Path) -> Iterator[tuple[str, float]]:
    """Options that the page states a number of."""
    text = " ".join(page.read_text(encoding="utf-8").split())
    for pattern in _STATED:
        for found in pattern.finditer(text):
            unit = _UNITS.get(found["unit"], 1)
            yield found["option"], int(found["number"].replace(",", "")) * unit


def test_defaults_in_prose_are_those_of_the_options() -> None:
    defaults = {
        f"{table}.{option}": value
        for table, options in msgspec.to_builtins(Settings(), enc_hook=str).items()
        if isinstance(options, dict)
        for option, value in options.items()
    }
    stated = {(option, number) for page in CHOSEN for option, number in _stated(page)}
    assert len(stated) > 12
    assert {option: number for option, number in stated if defaults[option] != number} == {}


def test_sizes_of_networks_on_one_machine() -> None:
    """Examples that limits.md works out from the defaults."""
    limits = (DOCS / "reference/limits.md").read_text(encoding="utf-8")
    local = Settings().local
    bits = local.share_network_prefix - int(local.share_network_pool.partition("/")[2])
    pool = f"{2**bits}: {local.share_network_pool} in /{local.share_network_prefix}"
    assert f"| share networks | {pool} (" in limits
    ports = 2 ** (32 - local.share_network_prefix) * 3 // 4 - 2
    assert f"| {ports} in a /{local.share_network_prefix}:" in limits
