"""Bad days on a real OpenStack: right states, messages with the cause, repairs, no leaks."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from uuid import uuid4

import pytest

from .proxy import Request
from .scene import Scene, nothing_leaked, wait

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

DATA = "sha256sum {path}/data"


@pytest.fixture(scope="module")
def network(scene: Scene) -> Iterator[str]:
    """A user's share network."""
    with scene.network("10.71.0.0/24") as (share_network, _):
        yield share_network


@pytest.fixture(scope="module")
def share(scene: Scene, network: str) -> Iterator[Any]:
    """A share with data in it, that is in use on all of these days."""
    made = scene.settled(scene.share(network, "used"))
    rule = {"access_level": "rw", "access_type": "ip", "access_to": "10.71.0.99"}
    scene.shares.create_access_rule(made.id, **rule)
    wait("the rule", lambda: [r.state for r in scene.shares.access_rules(made)] == ["active"], 60)
    path = where(scene, made)
    scene.inside(made, f"head -c 1000000 /dev/urandom > {path}/data; sync")
    yield made
    scene.remove(made)


def where(scene: Scene, share: Any) -> str:
    """The share's directory in its instance."""
    return scene.export(share).partition(":")[2]


def serves(scene: Scene, share: Any) -> bool:
    """Whether its instance has it mounted, can read it, and exports it."""
    path = where(scene, share)
    script = f"mountpoint -q {path}; cat {path}/data > /dev/null; exportfs -s | grep -q '^{path} '"
    try:
        scene.inside(share, script)
    except AssertionError:
        return False
    return True


# --- the cloud has no room ------------------------------------------------------------------------


@contextmanager
def largest_flavor(scene: Scene) -> Iterator[str]:
    """A flavor that fits on no host, asked for in place of the configured one."""
    nova = scene.cloud.compute
    name = f"atoll-test-{uuid4().hex[:6]}"
    flavor = nova.create_flavor(name=name, ram=512, vcpus=1, disk=1_000_000)

    def ask_for_it(request: Request) -> None:
        wish = json.loads(request.body)
        wish["server"]["flavorRef"] = flavor.id
        request.body = json.dumps(wish).encode()

    try:
        with scene.proxy.rule("compute", "POST", r"/servers$", before=ask_for_it):
            yield flavor.id
    finally:
        nova.delete_flavor(flavor)


def test_nova_has_no_host(scene: Scene, share: Any) -> None:
    with nothing_leaked(scene), scene.network("10.72.0.0/24") as (elsewhere, _):
        with largest_flavor(scene):
            new = scene.share(elsewhere, "new")
            scene.settled(new, "error")
            assert "No valid host" not in scene.told(new, "did not become active")
            assert scene.shares.get_share(share.id).status == "available"
        scene.settled(new)
        assert len(scene.servers(elsewhere)) == 1
        assert len(scene.messages(new)) == 1
        scene.remove(new)


@contextmanager
def volume_quota(scene: Scene, volumes: int) -> Iterator[None]:
    cinder = scene.cloud.block_storage
    before = cinder.get_quota_set(scene.project.id).volumes
    cinder.update_quota_set(scene.project.id, volumes=volumes)
    try:
        yield
    finally:
        cinder.update_quota_set(scene.project.id, volumes=before)


def test_cinder_is_out_of_quota(scene: Scene, network: str, share: Any) -> None:
    with nothing_leaked(scene):
        with volume_quota(scene, 1):
            new = scene.share(network, "new")
            scene.settled(new, "error")
            assert "exceed" not in scene.told(new, "no room, or no quota").lower()
        scene.settled(new)
        assert len(scene.messages(new)) == 1
        scene.remove(new)


def test_cinder_has_no_quota_to_grow(scene: Scene, network: str, share: Any) -> None:
    cinder = scene.cloud.block_storage
    before = cinder.get_quota_set(scene.project.id).gigabytes
    with nothing_leaked(scene):
        new = scene.settled(scene.share(network, "new"))
        cinder.update_quota_set(scene.project.id, gigabytes=2)
        try:
            scene.shares.resize_share(new.id, 5)
            scene.settled(new, "extending_error")
            assert "exceed" not in scene.told(new, "no room, or no quota").lower()
        finally:
            cinder.update_quota_set(scene.project.id, gigabytes=before)
        assert scene.settled(new).size == 5
        assert scene.volume_of(new).size == 5
        scene.remove(new)


@contextmanager
def port_quota(scene: Scene) -> Iterator[None]:
    """No port more than there is."""
    neutron = scene.cloud.network
    before = neutron.get_quota(scene.project.id).ports
    used = len(list(neutron.ports(project_id=scene.project.id)))
    neutron.update_quota(scene.project.id, ports=used)
    try:
        yield
    finally:
        neutron.update_quota(scene.project.id, ports=before)


def test_neutron_gives_no_port(scene: Scene, share: Any) -> None:
    with nothing_leaked(scene), scene.network("10.73.0.0/24") as (elsewhere, _):
        with port_quota(scene):
            new = scene.share(elsewhere, "new")
            scene.settled(new, "error")
            assert "'port'" not in scene.told(new, "no room, or no quota")
        scene.settled(new)
        assert len(scene.messages(new)) == 1
        scene.remove(new)


# --- services that don't answer -------------------------------------------------------------------


def test_the_token_expires_in_the_middle(scene: Scene, network: str, share: Any) -> None:
    revoked: list[str] = []

    def revoke(request: Request) -> None:
        """For good, in Keystone; services that remember it don't take it either from now on."""
        headers = {"X-Subject-Token": request.token}
        answer = scene.cloud.identity.delete("/auth/tokens", headers=headers)
        assert answer.status_code == 204
        revoked.append(request.token)

    since = len(scene.proxy.requests)
    with nothing_leaked(scene):
        volumes = ("block-storage", "POST", "/volumes$")
        with scene.proxy.rule(*volumes, after=revoke, once=True) as rule:
            new = scene.share(network, "new")
            assert rule.seen.wait(60)
            wait("the token to be revoked", lambda: revoked, 30)
        with scene.proxy.rule("", token=revoked[0], status=401) as refused:
            scene.settled(new)
        assert refused.seen.is_set()
        assert scene.proxy.count("identity", "POST", "/auth/tokens", since) >= 1
        assert scene.messages(new) == []
        assert scene.volume_of(new).status == "in-use"
        scene.remove(new)


@pytest.mark.parametrize("service", ["compute", "block-storage"])
def test_an_api_answers_503_for_a_minute(
    scene: Scene, network: str, share: Any, service: str
) -> None:
    server, began = scene.server_of(share), time.monotonic()
    with nothing_leaked(scene):
        with scene.proxy.rule(service, status=503):
            new = scene.share(network, "new")
            assert service not in scene.told(new, "tried again by itself", 60)
            assert scene.shares.get_share(new.id).status == "creating"
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        scene.settled(new)
        assert len(scene.messages(new)) == 1
        assert scene.server_of(share) == server
        assert scene.volume_of(new).status == "in-use"
        scene.remove(new)
    assert serves(scene, share)


def test_keystone_is_away_when_the_token_ends(scene: Scene, network: str, share: Any) -> None:
    token, began = scene.proxy.requests[-1].token, time.monotonic()
    with nothing_leaked(scene), scene.proxy.rule("", token=token, status=401):
        with scene.proxy.rule("identity", status=503):
            new = scene.share(network, "new")
            assert "Keystone" not in scene.told(new, "tried again by itself", 60)
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        scene.settled(new)
        scene.remove(new)


def test_neutron_answers_503_while_a_network_is_set_up(scene: Scene, share: Any) -> None:
    began, minute = time.monotonic(), ExitStack()
    with nothing_leaked(scene):
        minute.enter_context(scene.proxy.rule("network", status=503))
        with minute, scene.network("10.77.0.0/24") as (elsewhere, _):
            with minute:
                new = scene.share(elsewhere, "new")
                assert "503" not in scene.told(elsewhere, "The cloud does not answer", 60)
                time.sleep(max(0.0, began + 60 - time.monotonic()))
                assert scene.shares.get_share(new.id).status == "creating"
            scene.settled(new)
            scene.remove(new)


def test_answers_are_lost(scene: Scene, network: str, share: Any) -> None:
    """What was made, and nobody was told of, is found and used."""

    def lose(_: Request) -> None:
        raise ConnectionResetError

    with nothing_leaked(scene):
        with (
            scene.proxy.rule("block-storage", "POST", "/volumes$", after=lose, once=True) as made,
            scene.proxy.rule(
                "compute", "POST", "/os-volume_attachments$", after=lose, once=True
            ) as attached,
        ):
            new = scene.settled(scene.share(network, "new"))
        assert made.seen.is_set()
        assert attached.seen.is_set()
        assert scene.volume_of(new).status == "in-use"
        scene.remove(new)


# --- somebody else's hands ------------------------------------------------------------------------


def reset(scene: Scene, share: Any) -> None:
    """Say of a share's volume what isn't so, as administrators can."""
    wish = {"os-reset_status": {"status": "attaching"}}
    path = f"/volumes/{scene.volume_of(share).id}/action"
    assert scene.cloud.block_storage.post(path, json=wish).status_code == 202


def test_a_volume_is_stuck_in_attaching(scene: Scene, network: str, share: Any) -> None:
    stuck = threading.Event()

    def get_stuck(_: Request) -> None:
        reset(scene, new)
        stuck.set()

    with nothing_leaked(scene):
        path = "/os-volume_attachments$"
        with scene.proxy.rule("compute", "POST", path, before=get_stuck, once=True):
            new = scene.share(network, "new")
            assert stuck.wait(60)
        scene.settled(new)
        assert scene.volume_of(new).status == "in-use"
        reset(scene, new)
        scene.shares.resize_share(new.id, 2)
        assert scene.settled(new).size == 2
        assert scene.volume_of(new).status == "in-use"
        scene.remove(new)


def test_somebody_detaches_a_volume(scene: Scene, share: Any) -> None:
    path = where(scene, share)
    data = scene.inside(share, DATA.format(path=path))
    server, volume = scene.server_of(share), scene.volume_of(share)
    with nothing_leaked(scene):
        attachment = f"/servers/{server['instance_id']}/os-volume_attachments/{volume.id}"
        assert scene.cloud.compute.delete(attachment).status_code == 202
        assert volume.id not in scene.told(share, "had been detached")
        wait("the volume", lambda: scene.volume_of(share).status == "in-use", 120)
        wait("the share to be served", lambda: serves(scene, share), 120)
    assert scene.volume_of(share).id == volume.id
    assert scene.inside(share, DATA.format(path=path)) == data
    assert scene.shares.get_share(share.id).status == "available"


def test_somebody_deletes_the_instance(scene: Scene, share: Any) -> None:
    path, export = where(scene, share), scene.export(share)
    data = scene.inside(share, DATA.format(path=path))
    before, lost = scene.things(), scene.server_of(share)["instance_id"]
    scene.cloud.compute.delete_server(lost)
    assert lost not in scene.told(share, "was lost", 300)
    server = scene.server_of(share)
    assert server["instance_id"] != lost
    wait("the share to be served", lambda: serves(scene, share), 120)
    assert scene.inside(share, DATA.format(path=path)) == data
    assert scene.export(share) == export
    assert scene.shares.get_share(share.id).status == "available"
    owner = f"of share_server/{server['server_id']}"
    replaced = {f"server {lost} {owner}", f"server {server['instance_id']} {owner}"}
    assert before ^ scene.things() == replaced
