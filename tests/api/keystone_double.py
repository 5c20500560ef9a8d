"""A double of Keystone: its v3 API over HTTP, as far as tests need it.

Tests that use it run against a real Keystone, too (marker ``openstack``), and so hold what it says.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import Any
from urllib.parse import parse_qsl
from uuid import uuid4
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from tests.api.keystone_double_rows import SYSTEM, Refused, Row, Rows, matches, only

IMPLIED = {"admin": ("member", "reader"), "member": ("reader",)}


class KeystoneDouble(Rows):
    """The administrator is ``admin`` with the password ``admin`` in the project ``admin``."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens: dict[str, Row] = {}
        self.validations = 0
        self.url = ""
        self.add("domains", id="default", name="Default")
        self.add("regions", id="RegionOne", description="")
        roles = {name: self.add("roles", name=name)["id"] for name in ("admin", "member", "reader")}
        project = self.add("projects", name="admin", domain_id="default")
        admin = self.add("users", name="admin", domain_id="default", password="admin")
        self.grants = {(admin["id"], place, roles["admin"]) for place in (project["id"], SYSTEM)}

    def publish(self, url: str) -> None:
        """Be in the catalog oneself."""
        self.url = url
        service = self.add("services", type="identity", name="keystone")["id"]
        where = {"service_id": service, "region_id": "RegionOne", "url": f"{url}/v3/"}
        for interface in ("public", "internal"):
            self.add("endpoints", interface=interface, **where)

    # --- HTTP ---------------------------------------------------------------------------------

    def __call__(self, environ: Row, start_response: Callable[..., Any]) -> Iterable[bytes]:
        headers = [("Content-Type", "application/json")]
        try:
            code, body = self.answer(environ, headers)
        except Refused as refused:
            code = refused.code
            title = HTTPStatus(code).phrase
            body = {"error": {"code": code, "title": title, "message": str(refused)}}
        content = b"" if body is None else json.dumps(body).encode()
        headers.append(("Content-Length", str(len(content))))
        start_response(f"{code} {HTTPStatus(code).phrase}", headers)
        return [content]

    def answer(self, environ: Row, headers: list[tuple[str, str]]) -> tuple[int, Row | None]:
        method, parts = environ["REQUEST_METHOD"], environ["PATH_INFO"].strip("/").split("/")
        length = int(environ.get("CONTENT_LENGTH") or 0)
        body = json.loads(environ["wsgi.input"].read(length)) if length else {}
        if parts == [""]:
            return 300, {"versions": {"values": [self._version()]}}
        if parts == ["v3"]:
            return 200, {"version": self._version()}
        if parts == ["v3", "auth", "tokens"] and method == "POST":
            token_id, token = self.issue(body["auth"])
            headers.append(("X-Subject-Token", token_id))
            return 201, {"token": token}
        asking = self.tokens.get(environ.get("HTTP_X_AUTH_TOKEN", ""))
        if asking is None or _expired(asking):
            raise Refused(401, "The request you have made requires authentication.")
        roles = {role["name"] for role in asking.get("roles", ())}
        if parts == ["v3", "auth", "tokens"]:
            return self.subject(method, environ, roles, headers)
        if "admin" not in roles:
            raise Refused(403, f"You are not authorized to perform the requested action: {parts}.")
        query = dict(parse_qsl(environ.get("QUERY_STRING", "")))
        return self.administer(method, parts[1:], query, body)

    def _version(self) -> Row:
        link = {"rel": "self", "href": f"{self.url}/v3/"}
        return {"id": "v3.14", "status": "stable", "links": [link], "media-types": []}

    # --- tokens -------------------------------------------------------------------------------

    def issue(self, auth: Row) -> tuple[str, Row]:
        user = self._authenticated(auth["identity"])
        now = datetime.now(UTC)
        token: Row = {
            "methods": auth["identity"]["methods"],
            "user": {**only(user, "id", "name"), "domain": self._domain(user)},
            "audit_ids": [uuid4().hex],
            "issued_at": _text(now),
            "expires_at": _text(now + timedelta(hours=1)),
        }
        scope = auth.get("scope")
        if isinstance(scope, dict):
            token |= self._scoped(user["id"], scope)
        token_id = f"gAAAA{uuid4().hex}"
        self.tokens[token_id] = token
        return token_id, token

    def _authenticated(self, identity: Row) -> Row:
        if identity["methods"] == ["token"]:
            known = self.tokens.get(identity["token"]["id"])
            if known is not None and not _expired(known):
                return self.rows["users"][known["user"]["id"]]
        else:
            given = identity["password"]["user"]
            for user in self.rows["users"].values():
                named = given.get("id") == user["id"] or (
                    given.get("name") == user["name"]
                    and matches(self._domain(user), given.get("domain", {}))
                )
                if named and user["enabled"] and given["password"] == user["password"]:
                    return user
        raise Refused(401, "The request you have made requires authentication.")

    def _scoped(self, user_id: str, scope: Row) -> Row:
        if "system" in scope:
            place, facts = SYSTEM, dict[str, Any](system={"all": True})
        else:
            wanted = scope["project"]
            project = next(
                (
                    each
                    for each in self.rows["projects"].values()
                    if wanted.get("id") == each["id"]
                    or (
                        wanted.get("name") == each["name"]
                        and matches(self._domain(each), wanted["domain"])
                    )
                ),
                {"id": "", "name": "", "domain_id": "default"},
            )
            place = project["id"]
            facts = {"project": {**only(project, "id", "name"), "domain": self._domain(project)}}
        roles = [
            self.rows["roles"][role]
            for who, at, role in self.grants
            if (who, at) == (user_id, place)
        ]
        implied = {more for role in roles for more in IMPLIED.get(role["name"], ())}
        roles += [each for each in self.rows["roles"].values() if each["name"] in implied]
        if not roles:
            raise Refused(401, "The request you have made requires authentication.")
        return {
            **facts,
            "roles": [only(role, "id", "name") for role in roles],
            "catalog": list(self._catalog()),
        }

    def _catalog(self) -> Iterator[Row]:
        for service in self.rows["services"].values():
            endpoints = [
                {**only(each, "id", "interface", "region_id", "url"), "region": each["region_id"]}
                for each in self.rows["endpoints"].values()
                if each["service_id"] == service["id"] and each["enabled"]
            ]
            if service["enabled"]:
                yield {**only(service, "id", "type", "name"), "endpoints": endpoints}

    def _domain(self, row: Row) -> Row:
        return only(self.rows["domains"][row["domain_id"]], "id", "name")

    def subject(
        self, method: str, environ: Row, roles: set[str], headers: list[tuple[str, str]]
    ) -> tuple[int, Row | None]:
        """Validate or revoke ``X-Subject-Token``."""
        token_id = environ.get("HTTP_X_SUBJECT_TOKEN", "")
        own = token_id == environ["HTTP_X_AUTH_TOKEN"]
        if not (own or roles & {"admin", "service"}):
            raise Refused(403, "You are not authorized: identity:validate_token.")
        self.validations += 1
        token = self.tokens.get(token_id)
        allow_expired = "allow_expired" in environ.get("QUERY_STRING", "")
        if token is None or (_expired(token) and not allow_expired):
            raise Refused(404, f"Could not find token: {token_id}.")
        if method == "DELETE":
            del self.tokens[token_id]
            return 204, None
        headers.append(("X-Subject-Token", token_id))
        return 200, {"token": token}

    def expire(self, token_id: str) -> None:
        self.tokens[token_id]["expires_at"] = _text(datetime.now(UTC) - timedelta(seconds=1))


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _expired(token: Row) -> bool:
    return bool(token["expires_at"] <= _text(datetime.now(UTC)))


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@contextmanager
def running(keystone: KeystoneDouble, port: int = 0) -> Iterator[KeystoneDouble]:
    """Serve it on loopback."""
    server = make_server("127.0.0.1", port, keystone, server_class=_Server, handler_class=_Silent)
    keystone.publish(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield keystone
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
