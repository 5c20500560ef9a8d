"""User messages through HTTP."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from atoll.db import messages
from atoll.db.messages import Action, Detail, Resource
from tests.api.conftest import ApiInProcess, Client


def tell(world: ApiInProcess, project: str, resource_id: str = "s-1") -> str:
    with world.database.begin() as connection:
        return messages.create(
            connection,
            project,
            Resource.SHARE,
            resource_id,
            Action.EXTEND,
            Detail.DRIVER_FAILED_EXTEND,
            "The pool is full. Ask for less.",
            "req-1",
        )


def test_a_message_and_its_end(world: ApiInProcess, member: Client, stranger: Client) -> None:
    message_id = tell(world, "blue")
    path = f"/messages/{message_id}"
    shown = member.get(path)["message"]
    assert shown["user_message"] == "The pool is full. Ask for less."
    assert (shown["action_id"], shown["detail_id"]) == ("008", "015")
    assert (shown["resource_type"], shown["message_level"]) == ("SHARE", "ERROR")
    assert (shown["resource_id"], shown["request_id"]) == ("s-1", "req-1")
    lifetime = datetime.fromisoformat(shown["expires_at"]) - datetime.fromisoformat(
        shown["created_at"]
    )
    assert abs(lifetime - timedelta(days=30)) < timedelta(seconds=5)
    assert stranger("GET", path).status_code == 404
    assert stranger("DELETE", path).status_code == 404
    assert stranger.get("/messages")["messages"] == []
    assert member("GET", path, version="2.36").status_code == 404
    assert member("DELETE", path).status_code == 204
    assert member("GET", path).status_code == 404


def test_filters_and_pages(world: ApiInProcess, member: Client, admin: Client) -> None:
    ids = [tell(world, "blue", f"s-{number}") for number in range(3)]
    tell(world, "red")

    def found(query: str) -> list[str]:
        return [one["id"] for one in member.get(f"/messages{query}")["messages"]]

    assert found("") == ids[::-1]
    assert found("?resource_id=s-1&limit=1") == [ids[1]]
    assert found("?sort_key=created_at&sort_dir=asc&limit=2") == ids[:2]
    assert found(f"?limit=1&marker={ids[2]}") == [ids[1]]
    assert found("?message_level=ERROR&action_id=008&detail_id=001") == []
    soon = (datetime.now(UTC) + timedelta(minutes=1)).isoformat().replace("+", "%2B")
    assert found(f"?created_since={soon}") == []
    assert len(found(f"?created_before={soon}")) == 3
    assert len(admin.get("/messages")["messages"]) == 4
    assert "messages_links" in member.get("/messages?limit=1")


@pytest.mark.parametrize(
    "query", ["created_since=soon", "sort_key=user_message", "limit=-1", "resource_id=%00"]
)
def test_bad_queries_are_400(member: Client, query: str) -> None:
    assert member("GET", f"/messages?{query}").status_code == 400


def test_time_filters_came_with_2_52(member: Client) -> None:
    assert member("GET", "/messages?created_since=soon", version="2.51").status_code == 200


def test_expired_messages_are_hidden_then_pruned(world: ApiInProcess, member: Client) -> None:
    message_id = tell(world, "blue")
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE messages SET expires_at = '2020-01-01T00:00:00.000000'")
    assert member("GET", f"/messages/{message_id}").status_code == 404
    with world.database.begin() as connection:
        assert messages.prune(connection) == 1
        assert messages.prune(connection) == 0


def test_a_projects_messages_have_an_end(
    world: ApiInProcess, member: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(messages, "MOST", 5)
    ids = [tell(world, "blue", f"s-{number}") for number in range(9)]
    others = tell(world, "red")
    with world.database.begin() as connection:
        assert messages.prune(connection) == 4
        assert messages.prune(connection) == 0
        assert messages.require(connection, others)
    assert [one["id"] for one in member.get("/messages")["messages"]] == ids[:3:-1]
