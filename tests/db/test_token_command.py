"""``atoll token``, as an operator types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from atoll.cli.main import app
from atoll.errors import Conflict


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ATOLL_STATE_DIR", str(tmp_path))
    monkeypatch.setenv("ATOLL_CLOUD", "memory")


def atoll(*words: str) -> Result:
    return CliRunner().invoke(app, [*words])


def hashes() -> dict[str, str]:
    """The project's id of each token."""
    listed = json.loads(atoll("token", "list", "--json").stdout)
    return {row["hash"]: row["project_id"] for row in listed}


def test_revoking_a_name_that_several_have_revokes_none(tmp_path: Path) -> None:
    for project in ("blue", "red"):
        assert atoll("project", "create", project).exit_code == 0
        assert atoll("token", "create", project).exit_code == 0
    before = hashes()
    refused = atoll("token", "revoke", "token")
    assert refused.exit_code != 0
    assert isinstance(refused.exception, Conflict)
    assert hashes() == before
    for start in before:
        assert start in str(refused.exception)
    done = atoll("token", "revoke", "token", "--project", "red")
    assert done.exit_code == 0
    assert "in project red" in done.stdout
    [left] = hashes()
    assert atoll("token", "create", "blue").exit_code == 0
    assert atoll("token", "revoke", left[:8]).exit_code == 0
    assert left not in hashes()
    assert atoll("token", "create", "red").exit_code == 0
    assert atoll("token", "revoke", "token", "--all").exit_code == 0
    assert hashes() == {}
