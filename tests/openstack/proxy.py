"""Stands between Atoll and an OpenStack: sees every request, and can make each service misbehave.

Every service has a port of its own here. Answers carry our addresses in place of the services', so
that whoever asks Keystone through us finds all the others through us as well.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests

_OF_THE_CONNECTION = {"connection", "content-length", "content-encoding", "transfer-encoding"}
ANSWER_SECONDS = 120.0


@dataclass
class Request:
    """What Atoll asks of a service."""

    service: str
    method: str
    path: str
    token: str
    body: bytes

    def __str__(self) -> str:
        return f"{self.service} {self.method} {self.path}"


@dataclass(eq=False)
class Rule:
    """What is done to requests of a kind; ``seen`` is set when there was one."""

    service: str
    """Empty: of any."""
    method: str = ""
    path: str = ""
    """A regular expression that is found in the path."""
    token: str = ""
    status: int = 0
    """The answer, in place of the service's."""
    before: Callable[[Request], None] | None = None
    """Called with a request that is about to be forwarded, which it may change."""
    after: Callable[[Request], None] | None = None
    """Called when the service has answered, and Atoll has not been told."""
    once: bool = False
    seen: threading.Event = field(default_factory=threading.Event)

    def fits(self, request: Request) -> bool:
        """Whether it is about this request."""
        return (
            self.service in ("", request.service)
            and self.method in ("", request.method)
            and self.token in ("", request.token)
            and re.search(self.path, request.path) is not None
        )


class Proxy:
    """In front of ``services``: their addresses by name."""

    def __init__(self, services: Mapping[str, str]) -> None:
        self.requests: list[Request] = []
        self._rules: list[Rule] = []
        self._lock = threading.Lock()
        self._bases: dict[str, str] = {}
        self._names: dict[str, list[tuple[str, str]]] = {}
        self._servers: list[ThreadingHTTPServer] = []
        for name, address in services.items():
            parts = urlsplit(address)
            base = f"{parts.scheme}://{parts.netloc}"
            if base not in self._bases:
                self._bases[base] = self._listen(base)
            self._names.setdefault(base, []).append((parts.path, name))

    def _listen(self, base: str) -> str:
        handler = type("Bound", (_Handler,), {"proxy": self, "base": base})
        server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        self._servers.append(server)
        return f"http://127.0.0.1:{server.server_port}"

    def address(self, of: str) -> str:
        """Where a service's address leads through us."""
        for base, ours in self._bases.items():
            if of.startswith(base):
                return ours + of.removeprefix(base)
        raise ValueError(f"{of} is not ours to stand before")

    def close(self) -> None:
        """Stop listening."""
        for server in self._servers:
            server.shutdown()
            server.server_close()

    # --- what goes wrong ----------------------------------------------------------------------

    @contextmanager
    def rule(self, service: str, method: str = "", path: str = "", **what: Any) -> Iterator[Rule]:
        """Do this to fitting requests meanwhile."""
        rule = Rule(service, method, path, **what)
        with self._lock:
            self._rules.append(rule)
        try:
            yield rule
        finally:
            with self._lock:
                if rule in self._rules:
                    self._rules.remove(rule)

    def count(self, service: str, method: str = "", path: str = "", since: int = 0) -> int:
        """How many such requests there were, of all but the first ``since``."""
        rule = Rule(service, method, path)
        return sum(rule.fits(request) for request in self.requests[since:])

    # --- the way through ----------------------------------------------------------------------

    def pass_on(
        self, base: str, request: Request, headers: Mapping[str, str]
    ) -> tuple[int, dict[str, str], bytes]:
        """Status, headers and body of the answer."""
        request.service = self._service(base, request.path)
        self.requests.append(request)
        rules = self._fitting(request)
        for rule in rules:
            if rule.before is not None:
                rule.before(request)
        for rule in rules:
            if rule.status:
                return rule.status, {"Content-Type": "application/json"}, _refusal(rule.status)
        answer = requests.request(
            request.method,
            base + request.path,
            headers=headers,
            data=request.body,
            allow_redirects=False,
            timeout=ANSWER_SECONDS,
        )
        body, told = answer.content, dict(answer.headers)
        for theirs, ours in self._bases.items():
            body = body.replace(theirs.encode(), ours.encode())
            told = {name: value.replace(theirs, ours) for name, value in told.items()}
        for rule in rules:
            if rule.after is not None:
                rule.after(request)
        return answer.status_code, told, body

    def _service(self, base: str, path: str) -> str:
        paths = sorted(self._names[base], key=lambda one: -len(one[0]))
        return next((name for prefix, name in paths if path.startswith(prefix)), paths[-1][1])

    def _fitting(self, request: Request) -> list[Rule]:
        with self._lock:
            fitting = [rule for rule in self._rules if rule.fits(request)]
            for rule in fitting:
                rule.seen.set()
                if rule.once:
                    self._rules.remove(rule)
        return fitting


class _Handler(BaseHTTPRequestHandler):
    """Speaks HTTP/1.1 with Atoll for one service's port."""

    proxy: Proxy
    base: str
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = self.headers.get("X-Auth-Token", "")
        request = Request("", self.command, self.path, token, body)
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() not in (*_OF_THE_CONNECTION, "host", "accept-encoding")
        }
        try:
            status, told, answer = self.proxy.pass_on(self.base, request, headers)
        except requests.RequestException:
            status, told, answer = 502, {"Content-Type": "application/json"}, _refusal(502)
        self.send_response(status)
        for name, value in told.items():
            if name.lower() not in (*_OF_THE_CONNECTION, "server", "date"):
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer)

    do_GET = do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = _handle  # noqa: N815

    def handle(self) -> None:
        """Until the other side is gone, which killed workers are without a word."""
        try:
            super().handle()
        except ConnectionError:
            self.close_connection = True

    def log_message(self, *args: object) -> None:
        """Not on the terminal."""


def _refusal(status: int) -> bytes:
    words = {401: "Unauthorized", 502: "Bad Gateway", 503: "Service Unavailable"}
    message = words.get(status, "Refused by the test's proxy")
    return json.dumps({"error": {"message": message, "code": status}}).encode()
