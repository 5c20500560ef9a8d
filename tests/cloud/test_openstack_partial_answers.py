"""Answers that lack something, as Nova's do while a cell is down: an error of that one thing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from atoll.cloud.base import InstanceSpec
from atoll.cloud.openstack import OpenStackSettings
from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.cinder import DEPLOYMENT, OWNER
from atoll.cloud.openstack.compute import NovaCompute
from atoll.cloud.openstack.networks import NeutronNetworks
from atoll.cloud.openstack.server_groups import ServerGroups
from atoll.cloud.openstack.tags import deployment_tag, owner_tag
from atoll.cloud.openstack.volumes import CinderVolumes
from atoll.errors import CloudError, CloudUnavailable

from .neutron_double import NeutronDouble, neutron_double

Json = dict[str, Any]
PARTIAL: Json = {"id": "lost", "status": "UNKNOWN", "tenant_id": "ours", "links": []}
SERVER: Json = {
    "id": "whole",
    "name": "atoll",
    "status": "ACTIVE",
    "tags": [deployment_tag("test"), owner_tag("share_server/1")],
    "os-extended-volumes:volumes_attached": [],
}
VOLUME: Json = {
    "id": "whole",
    "status": "available",
    "size": 1,
    "metadata": {DEPLOYMENT: "test", OWNER: "share/1"},
    "attachments": [],
}
ODD: dict[str, Callable[[Json], object]] = {
    "a part": lambda thing: {"id": thing["id"]},
    "null": lambda thing: thing | {"tags": None, "metadata": None, "fixed_ips": None},
    "another type": lambda thing: thing | {"tags": 5, "metadata": [], "fixed_ips": "x"},
    "no object": lambda _: "odd",
}


@pytest.fixture
def scene(tmp_path: Any) -> Iterator[tuple[NeutronDouble, Api]]:
    with neutron_double() as made:
        yield made


def compute(api: Api, tmp_path: Any) -> tuple[NovaCompute, CinderVolumes, NeutronNetworks]:
    settings = OpenStackSettings(state_dir=tmp_path)
    networks = NeutronNetworks(api, "test", settings)
    volumes = CinderVolumes(api, "test", settings)
    groups = ServerGroups(api, "test", "none")
    nova = NovaCompute(api, "test", settings, volumes, groups, networks.ports)
    return nova, volumes, networks


def test_a_server_whose_cell_is_down_is_neither_gone_nor_in_error(
    scene: tuple[NeutronDouble, Api], tmp_path: Any
) -> None:
    double, api = scene
    nova, _, _ = compute(api, tmp_path)
    double.things["servers"] = {"lost": PARTIAL, "whole": SERVER}
    with pytest.raises(CloudUnavailable, match="lost is incomplete"):
        nova.get_instance("lost")
    found = nova.get_instance("whole")
    assert found is not None
    assert found.owner == "share_server/1"


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_server_does_not_end_the_list_and_gets_no_double(
    scene: tuple[NeutronDouble, Api], tmp_path: Any, odd: str
) -> None:
    double, api = scene
    nova, volumes, _ = compute(api, tmp_path)
    double.lists = {
        "/servers/detail": {"servers": [ODD[odd](SERVER | {"id": "lost"}), SERVER]},
        "/volumes/detail": {"volumes": [ODD[odd](VOLUME | {"id": "lost"}), VOLUME]},
    }
    assert [each.id for each in nova.list_instances()] == ["whole"]
    assert [each.id for each in volumes.list_volumes()] == ["whole"]
    spec: Any = InstanceSpec("share_server/2", "n", "i", (), None)  # type: ignore[arg-type]
    makers: tuple[Callable[[], object], ...] = (
        lambda: nova.create_instance(spec),
        lambda: volumes.create_volume("share/2", 1),
        lambda: volumes.find_volume("share/2"),
    )
    for make in makers:
        with pytest.raises(CloudUnavailable):
            make()
    assert not [request for request in double.requests if request.startswith("POST")]


@pytest.mark.parametrize("body", [{}, {"servers": None}, {"servers": {}}, [], "x", None])
def test_an_answer_that_is_no_list_is_an_error_of_the_cloud(
    scene: tuple[NeutronDouble, Api], tmp_path: Any, body: Any
) -> None:
    double, api = scene
    nova, _, networks = compute(api, tmp_path)
    double.lists = {"/servers/detail": body, "/ports": body, "/networks": body}
    for look in (nova.list_instances, networks.list_ports, networks.list_networks):
        with pytest.raises(CloudError):
            look()


@pytest.mark.parametrize("odd", ODD)
def test_one_odd_port_does_not_end_the_list(
    scene: tuple[NeutronDouble, Api], tmp_path: Any, odd: str
) -> None:
    double, api = scene
    _, _, networks = compute(api, tmp_path)
    port = double.post("ports", {"description": "atoll:test share_server/1"})
    double.lists = {"/ports": {"ports": [ODD[odd](port | {"id": "lost"}), port]}}
    assert [each.id for each in networks.list_ports()] == [port["id"]]
