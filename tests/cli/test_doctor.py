"""``atoll doctor``: one list in one style, whichever cloud is looked at."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from atoll.cli import bootstrap
from atoll.cli.doctor import as_one_list
from atoll.cloud.base import Finding
from atoll.config import DatabaseSettings, Settings
from atoll.db.database import Database
from tests.programs import ROOT

ATOLL = Path(sys.executable).with_name("atoll")


def doctor(tmp_path: Path, config: str, *options: str) -> str:
    """What it prints, whether something is wrong or not."""
    file = tmp_path / "atoll.toml"
    file.write_text(f'state_dir = "{tmp_path}"\n{config}\n')
    argv = [str(ATOLL), "--config", str(file), "doctor", *options]
    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


@pytest.mark.parametrize(
    "config",
    [
        'cloud = "memory"',
        # A daemon that isn't there, and programs or not: every check has something to say.
        'cloud = "local"\nlocal.libvirt_uri = "qemu:///system?socket=/nowhere"',
        'cloud = "openstack"\nopenstack.cloud = "nowhere"',
        'cloud = "memory"\napi.auth_strategy = "keystone"\n'
        'keystone.auth_url = "http://127.0.0.1:9"',
    ],
    ids=["memory", "local", "openstack", "keystone"],
)
def test_each_check_is_named_once_and_in_one_style(tmp_path: Path, config: str) -> None:
    (tmp_path / "admin.token").touch(0o644)
    findings = [Finding(**each) for each in json.loads(doctor(tmp_path, config, "--json"))]
    names = [finding.check for finding in findings]
    assert len(names) >= 5
    assert len({name.casefold() for name in names}) == len(names), names
    for finding in findings:
        assert finding.check[0].isupper(), finding
        assert not finding.detail.endswith("."), finding
        assert finding.ok or finding.todo.endswith((".", "?")), finding
    lines = doctor(tmp_path, config).splitlines()
    shown = [line for line in lines if not line.startswith("     →")]
    assert [line[5:].partition(": ")[0] for line in shown] == names


def test_what_two_say_of_one_check_is_one_line() -> None:
    found = as_one_list(
        [
            Finding("State directory", True, "/var/lib/atoll, mode 0711"),
            Finding("disk space", True, "lots."),
            Finding("state directory", False, "It is closed.", "Open it."),
            Finding("Disk space", True, "lots"),
        ]
    )
    assert found == [
        Finding("State directory", False, "It is closed", "Open it."),
        Finding("Disk space", True, "lots"),
    ]


def _written() -> Iterator[tuple[str, ast.Call]]:
    """Each finding that the program can write, and where."""
    for file in sorted((ROOT / "src/atoll").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if node.func.id in ("Finding", "_finding") and node.args:
                yield f"{file.relative_to(ROOT)}:{node.lineno}", node


def test_findings_are_written_in_that_style() -> None:
    seen = 0
    for where, call in _written():
        name = call.args[0]
        if isinstance(name, ast.JoinedStr):
            name = name.values[0]
        if isinstance(name, ast.Constant):
            seen += 1
            assert str(name.value)[0].isupper(), f"{where}: {name.value!r}"
    assert seen > 20


@pytest.mark.postgres
@pytest.mark.parametrize("new_database_url", ["postgres"], indirect=True)
@pytest.mark.parametrize(
    ("connections", "wanted", "is_enough"), [(20, 41, True), (99, 199, False)], ids=["few", "many"]
)
def test_processes_may_open_no_more_connections_than_the_server_allows(
    tmp_path: Path, database_url: str, connections: int, wanted: int, is_enough: bool
) -> None:
    url = f'database.url = "{database_url}"\n'
    database = Database(database_url)
    bootstrap.prepare(Settings(state_dir=tmp_path, cloud="memory"), database)
    database.close()
    config = f'cloud = "memory"\n{url}database.connections = {connections}'
    [found] = [
        Finding(**each)
        for each in json.loads(doctor(tmp_path, config, "--json"))
        if each["check"] == "Database connections"
    ]
    # The server of the tests allows 200, three of which are the superuser's; one API, one worker.
    assert found.ok == is_enough
    assert found.detail == f"{wanted} of the server's 197 may be opened by API and workers"


def test_an_api_and_two_workers_fit_a_server_that_nobody_has_tuned() -> None:
    each = DatabaseSettings().connections
    assert each + 2 * (each + 1) <= 97  # PostgreSQL's 100, less three for its superuser
