"""The OpenAPI documents are valid, and true: no answer of the API is missing from them."""

from __future__ import annotations

import importlib.util
from typing import Any

import msgspec
import pytest
from falcon.testing import TestClient

from atoll.api.app import RESOURCES, create_app
from atoll.api.frame import versions
from atoll.api.frame.openapi import PATH, document, with_document
from atoll.api.frame.schemas import Schemas, UndeclaredError
from atoll.api.frame.views import View, field
from tests.api.conftest import HEADER, ApiInProcess, Client
from tests.api.described import Known, one_of_each

NEWEST = versions.text(versions.HIGHEST)
VERSIONS = ("2.0", "2.65", NEWEST)
ROUTES = with_document([module.routes for module in RESOURCES])
EVERY = range(versions.LOWEST, versions.HIGHEST + 1)


@pytest.fixture
def known(world: ApiInProcess, admin: Client) -> Known:
    return one_of_each(world.database, admin)


def of(version: str) -> dict[str, Any]:
    return document(ROUTES, versions.minor(version))


def test_it_is_served_to_everybody_with_a_token(world: ApiInProcess, member: Client) -> None:
    assert world.http.simulate_get(f"/v2{PATH}").status_code == 401
    answer = member.get(f"{PATH}?version=2.9", version="2.65")
    assert answer["info"]["version"] == "2.9"
    assert answer["openapi"] == "3.1.0"
    assert answer["servers"] == [{"url": "http://falconframework.org/v2"}]
    assert "/shares/{share_id}/export_locations" in answer["paths"]


def test_without_a_parameter_it_is_of_the_version_that_was_negotiated(member: Client) -> None:
    assert member.get(PATH, version="2.37")["info"]["version"] == "2.37"


@pytest.mark.parametrize(("version", "code"), [("2.7x", 400), ("latest", 400), ("2.9999", 406)])
def test_of_other_versions_there_is_no_document(member: Client, version: str, code: int) -> None:
    assert member("GET", f"{PATH}?version={version}").status_code == code


def test_it_names_the_public_url(world: ApiInProcess, member: Client) -> None:
    public = msgspec.structs.replace(
        world.settings,
        api=msgspec.structs.replace(world.settings.api, public_url="https://files.example/"),
    )
    http = TestClient(create_app(public, world.database))
    answer = Client(http, member.token, member.project_id).get(PATH)
    assert answer["servers"] == [{"url": "https://files.example/v2"}]


def test_a_document_has_what_exists_at_its_version() -> None:
    old, new = of("2.0")["paths"], of("2.65")["paths"]
    assert "/os-services" in old
    assert "/os-services" not in new
    assert "/messages" not in old
    assert "/messages" in new
    actions = old["/shares/{share_id}/action"]["post"]["requestBody"]["content"]
    names = {one["required"][0] for one in actions["application/json"]["schema"]["oneOf"]}
    assert {"os-extend", "os-allow_access"} <= names
    assert "extend" not in names


def test_fields_are_those_of_the_version() -> None:
    share = of("2.65")["components"]["schemas"]["Share"]
    assert share["properties"]["description"] == {"anyOf": [{"type": "string"}, {"type": "null"}]}
    assert "creating_from_snapshot" in share["properties"]["status"]["enum"]
    assert "host" not in share["required"]
    assert "is_soft_deleted" not in share["properties"]
    assert "is_soft_deleted" in of("2.69")["components"]["schemas"]["Share"]["required"]


def test_what_is_always_refused_has_no_successful_answer() -> None:
    answers = of(NEWEST)["paths"]["/share-groups"]["post"]["responses"]
    assert not [code for code in answers if code.startswith("2")]


@pytest.mark.parametrize("version", EVERY)
def test_each_version_has_a_document(version: int) -> None:
    """Each read that can succeed says what its answer is."""
    made = document(ROUTES, version)
    for path, item in made["paths"].items():
        success = item.get("get", {}).get("responses", {}).get("200")
        assert success is None or "content" in success, path
    ids = [
        operation["operationId"]
        for item in made["paths"].values()
        for method, operation in item.items()
        if method != "parameters"
    ]
    assert len(ids) == len(set(ids))
    referred = set(_references(made))
    components = {
        f"#/components/{kind}/{name}"
        for kind, parts in made["components"].items()
        for name in parts
    }
    assert referred <= components


def _references(part: Any) -> list[str]:
    if isinstance(part, dict):
        inner = [one for value in part.values() for one in _references(value)]
        return [part["$ref"], *inner] if isinstance(part.get("$ref"), str) else inner
    if isinstance(part, list):
        return [one for value in part for one in _references(value)]
    return []


def test_fields_of_bodies_are_those_of_the_version() -> None:
    def fields(version: str) -> dict[str, Any]:
        body = of(version)["paths"]["/shares"]["post"]["requestBody"]["content"]
        share: dict[str, Any] = body["application/json"]["schema"]["properties"]["share"]
        return dict(share["properties"])

    assert "availability_zone" not in fields("2.0")
    assert "availability_zone" in fields("2.1")
    hints = fields("2.65")["scheduler_hints"]["anyOf"]
    assert "only_host" not in hints[0]["properties"]
    assert "scheduler_hints" not in fields("2.64")


def test_an_experimental_route_needs_the_header() -> None:
    header = {"$ref": "#/components/parameters/experimental"}
    assert header in of("2.54")["paths"]["/share-groups"]["get"]["parameters"]
    assert header not in of("2.55")["paths"]["/share-groups"]["get"]["parameters"]


def test_a_field_whose_type_is_not_declared_is_an_error() -> None:
    view = View((), field("nobody_knows", lambda row, _: row))
    with pytest.raises(UndeclaredError, match="nobody_knows"):
        Schemas(versions.HIGHEST).of(view)


schemathesis_is_there = pytest.mark.skipif(
    importlib.util.find_spec("schemathesis") is None,
    reason="schemathesis is not installed (uv sync --group clients)",
)


@schemathesis_is_there
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("version", VERSIONS)
def test_each_read_is_answered_as_documented(
    world: ApiInProcess, admin: Client, known: Known, version: str
) -> None:
    from tests.api import fuzz

    document = fuzz.load(world, admin, version)
    seen = 0
    for operation in fuzz.operations(document):
        if operation.method != "get" or "200" not in operation.definition.raw["responses"]:
            continue
        query = {"share_id": known.ids["share_id"]} if "access-rules" in operation.path else {}
        if operation.path.endswith("share_type_access") or operation.path.endswith("type-access"):
            continue  # public types have no such list
        case = operation.Case(
            path_parameters=known.in_path(operation.path),
            query=query,
            headers={"X-Auth-Token": admin.token, HEADER: version},
        )
        response = case.call()
        assert response.status_code == 200, (operation.path, response.text)
        assert not fuzz.faults(case, response)
        seen += 1
    assert seen >= 25


@schemathesis_is_there
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("role", "version"),
    [*(("admin", version) for version in VERSIONS), ("member", NEWEST)],
)
def test_every_answer_is_documented(
    world: ApiInProcess, admin: Client, known: Known, role: str, version: str
) -> None:
    from tests.api import fuzz

    caller = admin if role == "admin" else world.client("blue", role)
    document = fuzz.load(world, caller, version)
    found = [
        fault
        for operation in fuzz.operations(document)
        for fault in fuzz.ask(operation, caller, version, known)
    ]
    assert not found, "\n\n".join(found)
