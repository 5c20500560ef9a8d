"""What the double for Keystone keeps: its collections, and who was given which role."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

Row = dict[str, Any]
COLLECTIONS = ("domains", "projects", "users", "roles", "regions", "services", "endpoints")
SYSTEM = "system"


class Refused(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Rows:
    """Make, list, change and delete, as an administrator may."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[str, Row]] = {name: {} for name in COLLECTIONS}
        self.grants: set[tuple[str, str, str]] = set()
        """user, project (or ``system``), role"""

    def add(self, collection: str, **row: Any) -> Row:
        made = {"id": uuid4().hex, "enabled": True, **row}
        self.rows[collection][made["id"]] = made
        return made

    def administer(
        self, method: str, parts: list[str], query: Row, body: Row
    ) -> tuple[int, Row | None]:
        match parts:
            case ["role_assignments"]:
                return 200, {"role_assignments": list(self._assignments(query))}
            case ["system", "users", user, "roles", role] if method == "PUT":
                return self._grant(user, SYSTEM, role)
            case ["projects", project, "users", user, "roles", role] if method == "PUT":
                return self._grant(user, project, role)
            case [collection, *which] if collection in COLLECTIONS:
                return self._crud(method, collection, which, query, body)
        raise Refused(404, "(https://keystone/): The resource could not be found.")

    def _grant(self, user: str, place: str, role: str) -> tuple[int, None]:
        if user not in self.rows["users"] or role not in self.rows["roles"]:
            raise Refused(404, "Could not find it.")
        self.grants.add((user, place, role))
        return 204, None

    def _assignments(self, query: Row) -> Iterator[Row]:
        for user, place, role in self.grants:
            project = query.get("scope.project.id", place)
            if (user, project, role) == (query["user.id"], place, query.get("role.id", role)):
                yield {
                    "user": {"id": user},
                    "role": {"id": role},
                    "scope": {"project": {"id": place}},
                }

    def _crud(
        self, method: str, collection: str, which: list[str], query: Row, body: Row
    ) -> tuple[int, Row | None]:
        rows, key = self.rows[collection], collection.removesuffix("s")
        if method == "POST":
            wish = body[key]
            twice = [row for row in rows.values() if row.get("name") == wish.get("name")]
            if twice and collection in ("projects", "users", "roles"):
                raise Refused(409, f"Conflict occurred attempting to store {key}.")
            return 201, {key: public(self.add(collection, **wish))}
        if not which:
            found = [row for row in rows.values() if matches(row, query)]
            return 200, {collection: [public(row) for row in found], "links": {"next": None}}
        if which[0] not in rows:
            raise Refused(404, f"Could not find {key}: {which[0]}.")
        if method == "DELETE":
            del rows[which[0]]
            if collection == "services":
                ends = self.rows["endpoints"]
                self.rows["endpoints"] = {
                    name: row for name, row in ends.items() if row["service_id"] in rows
                }
            return 204, None
        if method == "PATCH":
            rows[which[0]].update(body[key])
        return 200, {key: public(rows[which[0]])}


def only(row: Row, *names: str) -> Row:
    return {name: row[name] for name in names}


def public(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "password"}


def matches(row: Row, wanted: Row) -> bool:
    return all(row.get(name) == value for name, value in wanted.items() if name in row)
