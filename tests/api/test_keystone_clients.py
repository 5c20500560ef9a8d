"""Manila's own clients with an ordinary Keystone login, from the catalog to a share."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

pytest.importorskip("keystonemiddleware", reason="the extra [openstack] is not installed")

from atoll.cli import catalog
from tests.api import keystones
from tests.api.keystones import Keystone
from tests.api.served import Server, serving

keystone = keystones.keystone
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(360),  # a round starts eight clients, seconds each on a busy machine
    pytest.mark.skipif(
        importlib.util.find_spec("manilaclient") is None,
        reason="the clients are not installed (uv sync --group clients)",
    ),
    pytest.mark.filterwarnings("ignore"),
]


@pytest.fixture(scope="module")
def api(keystone: Keystone, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """``atoll serve`` behind Keystone, and in its catalog."""
    state = tmp_path_factory.mktemp("keystone")
    section = keystone.settings(state).keystone
    options = {
        "ATOLL_API__AUTH_STRATEGY": "keystone",
        **{
            f"ATOLL_KEYSTONE__{name.upper()}": getattr(section, name)
            for name in ("auth_url", "username", "password", "project_name", "interface")
        },
    }
    with serving(state, options) as url:
        list(catalog.register(keystone.identity, url, keystone.region, ["public"]))
        try:
            yield Server(url, "", state)
        finally:
            list(catalog.unregister(keystone.identity, keystone.region))


def as_(api: Server, credentials: keystones.Credentials) -> Server:
    return replace(api, credentials=credentials)


def test_everybodys_round(keystone: Keystone, api: Server) -> None:
    demo = as_(api, keystone.person("member", project="demo"))
    _, share, listed, _ = demo.openstack(
        "network create --name mine",
        "create NFS 1 --name first --share-network mine --wait",
        "list",
        "access create first ip 10.0.0.0/24",
    )
    assert share["project_id"] == keystone.project("demo")
    assert [one["Name"] for one in listed] == ["first"]

    other = as_(api, keystone.person("member", project="other"))
    (nothing,) = other.openstack("list")
    assert nothing == []
    (hidden,) = other.attempt(f"show {share['id']}")
    assert hidden["code"] != 0

    admin = as_(api, keystone.person("admin", project="ops"))
    everything, servers = admin.openstack("list --all-projects", "server list")
    assert "first" in [one["Name"] for one in everything]
    assert servers

    reader = as_(api, keystone.person("reader", project="demo"))
    (seen,) = reader.openstack("list")
    assert [one["Name"] for one in seen] == ["first"]
    for refused in reader.attempt("delete first", "create NFS 1 --share-network mine"):
        assert refused["code"] != 0
        assert "403" in refused["err"]

    system = as_(api, keystone.person("reader"))
    (all_of_them,) = system.openstack("list --all-projects")
    assert "first" in [one["Name"] for one in all_of_them]

    demo.openstack("delete first --wait")
    (left,) = demo.openstack("list")
    assert left == []


def test_quotas_by_the_name_that_keystone_knows(keystone: Keystone, api: Server) -> None:
    keystone.project("counted")
    name = f"{keystone.run}-counted"
    admin = as_(api, keystone.admin | {"OS_REGION_NAME": keystone.region})
    _, quotas = admin.openstack(f"quota set {name} --shares 7", f"quota show {name}")
    assert quotas["shares"] == 7


def test_a_token_by_itself(keystone: Keystone, api: Server) -> None:
    for token, told in (
        ("garbage", "401"),
        (keystones.token(keystone.person("member", project="demo")), ""),
    ):
        (outcome,) = replace(api, token=token).attempt("list")
        assert told in outcome["err"]
        assert (outcome["code"] == 0) == (told == "")


def test_nothing_secret_in_the_log(api: Server, keystone: Keystone) -> None:
    said = (api.state / "serve.log").read_text()
    assert "of the service" not in said
    assert "gAAAA" not in said


def test_openstacksdk_finds_it_in_the_catalog(keystone: Keystone, api: Server) -> None:
    with keystones.connect(keystone.person("member", project="sdk")) as cloud:
        shared = cloud.shared_file_system
        made = shared.create_share_network(name="of the SDK")
        assert [one.name for one in shared.share_networks()] == ["of the SDK"]
        shared.delete_share_network(made)


def test_the_ready_text_names_keystone(keystone: Keystone, api: Server) -> None:
    ready = Path(api.state / "ready.txt").read_text()
    assert keystone.auth_url in ready
    assert "atoll keystone register" in ready
