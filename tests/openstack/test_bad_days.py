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

from harness.wait import wait

from .deployment import OpenStackDeployment, nothing_leaked
from .proxy import Request

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

DATA = "sha256sum {path}/data"


@pytest.fixture(scope="module")
def network(deployment: OpenStackDeployment) -> Iterator[str]:
    """A user's share network."""
    with deployment.network("10.71.0.0/24") as (share_network, _):
        yield share_network


@pytest.fixture(scope="module")
def share(deployment: OpenStackDeployment, network: str) -> Iterator[Any]:
    """A share with data in it, that is in use on all of these days."""
    made = deployment.settled(deployment.share(network, "used"))
    rule = {"access_level": "rw", "access_type": "ip", "access_to": "10.71.0.99"}
    deployment.shares.create_access_rule(made.id, **rule)
    wait(
        "the rule",
        lambda: [r.state for r in deployment.shares.access_rules(made)] == ["active"],
        60,
    )
    path = where(deployment, made)
    deployment.inside(made, f"head -c 1000000 /dev/urandom > {path}/data; sync")
    yield made
    deployment.remove(made)


def where(deployment: OpenStackDeployment, share: Any) -> str:
    """The share's directory in its instance."""
    return deployment.export(share).partition(":")[2]


def serves(deployment: OpenStackDeployment, share: Any) -> bool:
    """Whether its instance has it mounted, can read it, and exports it."""
    path = where(deployment, share)
    script = f"mountpoint -q {path}; cat {path}/data > /dev/null; exportfs -s | grep -q '^{path} '"
    try:
        deployment.inside(share, script)
    except AssertionError:
        return False
    return True


# --- the cloud has no room ------------------------------------------------------------------------


@contextmanager
def largest_flavor(deployment: OpenStackDeployment) -> Iterator[str]:
    """A flavor that fits on no host, asked for in place of the configured one."""
    nova = deployment.cloud.compute
    name = f"atoll-test-{uuid4().hex[:6]}"
    flavor = nova.create_flavor(name=name, ram=512, vcpus=1, disk=1_000_000)

    def ask_for_it(request: Request) -> None:
        wish = json.loads(request.body)
        wish["server"]["flavorRef"] = flavor.id
        request.body = json.dumps(wish).encode()

    try:
        with deployment.proxy.rule("compute", "POST", r"/servers$", before=ask_for_it):
            yield flavor.id
    finally:
        nova.delete_flavor(flavor)


def test_nova_has_no_host(deployment: OpenStackDeployment, share: Any) -> None:
    with nothing_leaked(deployment), deployment.network("10.72.0.0/24") as (elsewhere, _):
        with largest_flavor(deployment):
            new = deployment.share(elsewhere, "new")
            deployment.settled(new, "error")
            assert "No valid host" not in deployment.told(new, "did not become active")
            assert deployment.shares.get_share(share.id).status == "available"
        deployment.settled(new)
        assert len(deployment.servers(elsewhere)) == 1
        assert len(deployment.messages(new)) == 1
        deployment.remove(new)


@contextmanager
def volume_quota(deployment: OpenStackDeployment, volumes: int) -> Iterator[None]:
    cinder = deployment.cloud.block_storage
    before = cinder.get_quota_set(deployment.project.id).volumes
    cinder.update_quota_set(deployment.project.id, volumes=volumes)
    try:
        yield
    finally:
        cinder.update_quota_set(deployment.project.id, volumes=before)


def test_cinder_is_out_of_quota(deployment: OpenStackDeployment, network: str, share: Any) -> None:
    with nothing_leaked(deployment):
        with volume_quota(deployment, 1):
            new = deployment.share(network, "new")
            deployment.settled(new, "error")
            assert "exceed" not in deployment.told(new, "no room, or no quota").lower()
        deployment.settled(new)
        assert len(deployment.messages(new)) == 1
        deployment.remove(new)


def test_cinder_has_no_quota_to_grow(
    deployment: OpenStackDeployment, network: str, share: Any
) -> None:
    cinder = deployment.cloud.block_storage
    before = cinder.get_quota_set(deployment.project.id).gigabytes
    with nothing_leaked(deployment):
        new = deployment.settled(deployment.share(network, "new"))
        cinder.update_quota_set(deployment.project.id, gigabytes=2)
        try:
            deployment.shares.resize_share(new.id, 5)
            deployment.settled(new, "extending_error")
            assert "exceed" not in deployment.told(new, "no room, or no quota").lower()
        finally:
            cinder.update_quota_set(deployment.project.id, gigabytes=before)
        assert deployment.settled(new).size == 5
        assert deployment.volume_of(new).size == 5
        deployment.remove(new)


@contextmanager
def port_quota(deployment: OpenStackDeployment) -> Iterator[None]:
    """No port more than there is."""
    neutron = deployment.cloud.network
    before = neutron.get_quota(deployment.project.id).ports
    used = len(list(neutron.ports(project_id=deployment.project.id)))
    neutron.update_quota(deployment.project.id, ports=used)
    try:
        yield
    finally:
        neutron.update_quota(deployment.project.id, ports=before)


def test_neutron_gives_no_port(deployment: OpenStackDeployment, share: Any) -> None:
    with nothing_leaked(deployment), deployment.network("10.73.0.0/24") as (elsewhere, _):
        with port_quota(deployment):
            new = deployment.share(elsewhere, "new")
            deployment.settled(new, "error")
            assert "'port'" not in deployment.told(new, "no room, or no quota")
        deployment.settled(new)
        assert len(deployment.messages(new)) == 1
        deployment.remove(new)


# --- services that don't answer -------------------------------------------------------------------


def test_the_token_expires_in_the_middle(
    deployment: OpenStackDeployment, network: str, share: Any
) -> None:
    revoked: list[str] = []

    def revoke(request: Request) -> None:
        """For good, in Keystone; services that remember it don't take it either from now on."""
        headers = {"X-Subject-Token": request.token}
        answer = deployment.cloud.identity.delete("/auth/tokens", headers=headers)
        assert answer.status_code == 204
        revoked.append(request.token)

    since = len(deployment.proxy.requests)
    with nothing_leaked(deployment):
        volumes = ("block-storage", "POST", "/volumes$")
        with deployment.proxy.rule(*volumes, after=revoke, once=True) as rule:
            new = deployment.share(network, "new")
            assert rule.seen.wait(60)
            wait("the token to be revoked", lambda: revoked, 30)
        with deployment.proxy.rule("", token=revoked[0], status=401) as refused:
            deployment.settled(new)
        assert refused.seen.is_set()
        assert deployment.proxy.count("identity", "POST", "/auth/tokens", since) >= 1
        assert deployment.messages(new) == []
        assert deployment.volume_of(new).status == "in-use"
        deployment.remove(new)


@pytest.mark.parametrize("service", ["compute", "block-storage"])
def test_an_api_answers_503_for_a_minute(
    deployment: OpenStackDeployment, network: str, share: Any, service: str
) -> None:
    server, began = deployment.server_of(share), time.monotonic()
    with nothing_leaked(deployment):
        with deployment.proxy.rule(service, status=503):
            new = deployment.share(network, "new")
            assert service not in deployment.told(new, "tried again by itself", 60)
            assert deployment.shares.get_share(new.id).status == "creating"
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        deployment.settled(new)
        assert len(deployment.messages(new)) == 1
        assert deployment.server_of(share) == server
        assert deployment.volume_of(new).status == "in-use"
        deployment.remove(new)
    assert serves(deployment, share)


def test_keystone_is_away_when_the_token_ends(
    deployment: OpenStackDeployment, network: str, share: Any
) -> None:
    token, began = deployment.proxy.requests[-1].token, time.monotonic()
    with nothing_leaked(deployment), deployment.proxy.rule("", token=token, status=401):
        with deployment.proxy.rule("identity", status=503):
            new = deployment.share(network, "new")
            assert "Keystone" not in deployment.told(new, "tried again by itself", 60)
            time.sleep(max(0.0, began + 60 - time.monotonic()))
        deployment.settled(new)
        deployment.remove(new)


def test_neutron_answers_503_while_a_network_is_set_up(
    deployment: OpenStackDeployment, share: Any
) -> None:
    began, minute = time.monotonic(), ExitStack()
    with nothing_leaked(deployment):
        minute.enter_context(deployment.proxy.rule("network", status=503))
        with minute, deployment.network("10.77.0.0/24") as (elsewhere, _):
            with minute:
                new = deployment.share(elsewhere, "new")
                assert "503" not in deployment.told(elsewhere, "The cloud does not answer", 60)
                time.sleep(max(0.0, began + 60 - time.monotonic()))
                assert deployment.shares.get_share(new.id).status == "creating"
            deployment.settled(new)
            deployment.remove(new)


def test_answers_are_lost(deployment: OpenStackDeployment, network: str, share: Any) -> None:
    """What was made, and nobody was told of, is found and used."""

    def lose(_: Request) -> None:
        raise ConnectionResetError

    with nothing_leaked(deployment):
        with (
            deployment.proxy.rule(
                "block-storage", "POST", "/volumes$", after=lose, once=True
            ) as made,
            deployment.proxy.rule(
                "compute", "POST", "/os-volume_attachments$", after=lose, once=True
            ) as attached,
        ):
            new = deployment.settled(deployment.share(network, "new"))
        assert made.seen.is_set()
        assert attached.seen.is_set()
        assert deployment.volume_of(new).status == "in-use"
        deployment.remove(new)


# --- somebody else's hands ------------------------------------------------------------------------


def reset(deployment: OpenStackDeployment, share: Any) -> None:
    """Say of a share's volume what isn't so, as administrators can."""
    wish = {"os-reset_status": {"status": "attaching"}}
    path = f"/volumes/{deployment.volume_of(share).id}/action"
    assert deployment.cloud.block_storage.post(path, json=wish).status_code == 202


def test_a_volume_is_stuck_in_attaching(
    deployment: OpenStackDeployment, network: str, share: Any
) -> None:
    stuck = threading.Event()

    def get_stuck(_: Request) -> None:
        reset(deployment, new)
        stuck.set()

    with nothing_leaked(deployment):
        path = "/os-volume_attachments$"
        with deployment.proxy.rule("compute", "POST", path, before=get_stuck, once=True):
            new = deployment.share(network, "new")
            assert stuck.wait(60)
        deployment.settled(new)
        assert deployment.volume_of(new).status == "in-use"
        reset(deployment, new)
        deployment.shares.resize_share(new.id, 2)
        assert deployment.settled(new).size == 2
        assert deployment.volume_of(new).status == "in-use"
        deployment.remove(new)


def test_somebody_detaches_a_volume(deployment: OpenStackDeployment, share: Any) -> None:
    path = where(deployment, share)
    data = deployment.inside(share, DATA.format(path=path))
    server, volume = deployment.server_of(share), deployment.volume_of(share)
    with nothing_leaked(deployment):
        attachment = f"/servers/{server['instance_id']}/os-volume_attachments/{volume.id}"
        assert deployment.cloud.compute.delete(attachment).status_code == 202
        assert volume.id not in deployment.told(share, "had been detached")
        wait("the volume", lambda: deployment.volume_of(share).status == "in-use", 120)
        wait("the share to be served", lambda: serves(deployment, share), 120)
    assert deployment.volume_of(share).id == volume.id
    assert deployment.inside(share, DATA.format(path=path)) == data
    assert deployment.shares.get_share(share.id).status == "available"


def test_somebody_deletes_the_instance(deployment: OpenStackDeployment, share: Any) -> None:
    path, export = where(deployment, share), deployment.export(share)
    data = deployment.inside(share, DATA.format(path=path))
    before, lost = deployment.things(), deployment.server_of(share)["instance_id"]
    deployment.cloud.compute.delete_server(lost)
    assert lost not in deployment.told(share, "was lost", 300)
    server = deployment.server_of(share)
    assert server["instance_id"] != lost
    wait("the share to be served", lambda: serves(deployment, share), 120)
    assert deployment.inside(share, DATA.format(path=path)) == data
    assert deployment.export(share) == export
    assert deployment.shares.get_share(share.id).status == "available"
    owner = f"of share_server/{server['server_id']}"
    replaced = {f"server {lost} {owner}", f"server {server['instance_id']} {owner}"}
    assert before ^ deployment.things() == replaced
