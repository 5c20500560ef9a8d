"""Tokens and projects: who may speak for whom."""

from __future__ import annotations

import pytest
from sqlalchemy import select

from atoll.db import projects, tokens
from atoll.db.database import Database
from atoll.db.tables import projects as project_table
from atoll.db.tables import tokens as table
from atoll.errors import Conflict, Invalid, NotFound
from tests import rows


def test_a_token_speaks_for_its_project_until_revoked(database: Database) -> None:
    with database.begin() as connection:
        token = tokens.create(connection, "ci", "blue", "ann", ["member", "reader"])
        other = tokens.create(connection, "ci", "blue", "ann", ["member"])
    assert token != other
    assert len(token) >= 43  # 256 bits
    with database.read() as connection:
        assert tokens.verify(connection, token) == tokens.Bearer(
            "blue", "ann", ("member", "reader")
        )
        assert tokens.verify(connection, token + "x") is None
        assert tokens.verify(connection, "") is None
        hashes = [row["hash"] for row in tokens.every(connection, "blue")]
    with database.begin() as connection:
        assert [row["hash"] for row in tokens.revoke(connection, hashes[0][:8])] == hashes[:1]
        assert [row["hash"] for row in tokens.revoke(connection, "ci")] == hashes[1:]
        assert tokens.verify(connection, other) is None
    with pytest.raises(NotFound), database.begin() as connection:
        tokens.revoke(connection, "ci")


def test_revoking_means_one_token(database: Database) -> None:
    with database.begin() as connection:
        blue, red = (projects.create(connection, name)["id"] for name in ("blue", "red"))
        for project, count in ((blue, 2), (red, 1)):
            for _ in range(count):
                tokens.create(connection, "token", project, "ann", ["member"])
        every = tokens.every(connection)
    with pytest.raises(Conflict) as refused, database.begin() as connection:
        tokens.revoke(connection, "token")
    for row in every:
        assert row["hash"][:12] in str(refused.value)
        assert row["created_at"][:19] in str(refused.value)
    assert "in project blue" in str(refused.value)
    assert "in project red" in str(refused.value)
    with pytest.raises(Conflict), database.begin() as connection:
        tokens.revoke(connection, "token", project_id=blue)
    with database.begin() as connection:
        assert tokens.every(connection) == every
        [gone] = tokens.revoke(connection, "token", project_id=red)
        assert gone["project_id"] == red
        assert len(tokens.revoke(connection, "token", all_of_them=True)) == 2
        assert tokens.every(connection) == []


def test_a_hash_that_means_two_tokens_revokes_none(database: Database) -> None:
    with database.begin() as connection:
        tokens.create(connection, "ci", "blue", "ann", ["member"])
        [row] = tokens.every(connection)
        start = row["hash"][:8]
        tokens.create(connection, start, "blue", "ann", ["member"])  # whose name looks like a hash
    with pytest.raises(Conflict, match="ci: member"), database.begin() as connection:
        tokens.revoke(connection, start)
    with pytest.raises(NotFound, match="8 digits"), database.begin() as connection:
        tokens.revoke(connection, row["hash"][:7])
    with pytest.raises(NotFound), database.begin() as connection:
        tokens.revoke(connection, "")
    with database.begin() as connection:
        assert [one["name"] for one in tokens.revoke(connection, row["hash"].upper())] == ["ci"]


def test_the_database_never_sees_the_token(database: Database) -> None:
    with database.begin() as connection:
        token = tokens.create(connection, "ci", "blue", "ann", ["member"])
        stored = connection.execute(select(table)).mappings().one()
    assert all(token not in str(value) for value in stored.values())


def test_an_expired_token_is_none(database: Database) -> None:
    with database.begin() as connection:
        past, future = "2020-01-01T00:00:00.000000", "2999-01-01T00:00:00.000000"
        old = tokens.create(connection, "a", "blue", "ann", ["member"], expires_at=past)
        new = tokens.create(connection, "b", "blue", "ann", ["member"], expires_at=future)
        assert tokens.verify(connection, old) is None
        assert tokens.verify(connection, new) is not None


@pytest.mark.parametrize("roles", [[], ["root"], ["member", "Admin"]])
def test_unknown_roles_are_refused(database: Database, roles: list[str]) -> None:
    with pytest.raises(Invalid, match="Roles are"), database.begin() as connection:
        tokens.create(connection, "ci", "blue", "ann", roles)


def test_projects_are_found_by_name_and_by_id(database: Database) -> None:
    with database.begin() as connection:
        made = projects.create(connection, "blue", description="sky")
        assert projects.find(connection, "blue") == projects.find(connection, made["id"])
        assert projects.require(connection, made["id"])["description"] == "sky"
        with pytest.raises(NotFound):
            projects.find(connection, "red")
    with pytest.raises(Conflict), database.begin() as connection:
        projects.create(connection, "blue")


def test_a_projects_name_is_never_anothers_id(database: Database) -> None:
    with database.begin() as connection:
        blue = projects.create(connection, "blue")
    with pytest.raises(Conflict), database.begin() as connection:
        projects.create(connection, blue["id"])
    with pytest.raises(Conflict), database.begin() as connection:
        projects.create(connection, "red", project_id="blue")
    with database.begin() as connection:  # as an older version would have let it in
        rows.add(connection, project_table, **{**blue, "id": "f" * 32, "name": blue["id"]})
    with pytest.raises(Conflict), database.begin() as connection:
        projects.find(connection, blue["id"])
