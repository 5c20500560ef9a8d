"""Requests that schemathesis makes from an OpenAPI document, and what must hold of the answers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import schemathesis
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from schemathesis import checks
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from atoll.api.frame.openapi import PATH
from tests.api.conftest import HEADER, ApiInProcess, Client
from tests.api.described import Known

EXAMPLES = 3
"""Requests to each operation."""
SEED = 65
CHECKS = [
    checks.not_a_server_error,
    status_code_conformance,
    response_schema_conformance,
    content_type_conformance,
]


def load(world: ApiInProcess, caller: Client, version: str) -> Any:
    """The document of a version, as the API serves it."""
    headers = {"X-Auth-Token": caller.token}
    url = f"/v2{PATH}?version={version}"
    return schemathesis.openapi.from_wsgi(url, world.http.app, headers=headers)


def operations(document: Any) -> Iterator[Any]:
    """All operations. Raises the error of one that schemathesis does not understand."""
    for result in document.get_all_operations():
        yield result.ok()


def faults(case: Any, response: Any) -> list[str]:
    """What the document does not say of this answer."""
    if response.status_code == 200 and isinstance(case.body, dict) and "restore" in case.body:
        # The action's 200 has no body, but another action's 200 has, and OpenAPI knows one of them.
        return [] if not response.content else ["The answer to restore has a body."]
    try:
        case.validate_response(response, checks=CHECKS)
    except FailureGroup as group:
        return [f"{case.as_curl_command()}\n{failure}" for failure in group.exceptions]
    return []


def ask(operation: Any, caller: Client, version: str, known: Known) -> list[str]:
    """Send some requests to one operation, most about things that are there; what was wrong.

    The requests change what is there, so no request can be repeated to see it fail again.
    """
    headers = {"X-Auth-Token": caller.token, HEADER: version}
    found: list[str] = []

    @seed(SEED)
    @settings(
        max_examples=EXAMPLES,
        phases=[Phase.generate],
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(), choice=st.integers(0, 3))
    def each(case: Any, choice: int) -> None:
        case.headers = {**(case.headers or {}), **headers}
        if choice:
            in_path = known.in_path(operation.path)
            case.path_parameters = {**(case.path_parameters or {}), **in_path}
            case.body = _about_known(case.body, known)
        found.extend(faults(case, case.call()))

    each()
    return found


def _about_known(body: Any, known: Known) -> Any:
    """The body with ids of things that are there in place of ids that were made up."""
    if isinstance(body, dict):
        return {
            name: known.ids[name] if name in known.ids else _about_known(value, known)
            for name, value in body.items()
        }
    return body
