"""Workers that begin at the same time, and answers that get lost: one thing is there in the end."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from atoll.cloud import sole as module
from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.neutron import Neutron
from atoll.cloud.openstack.subnets import DRAFT, Subnets, parsed
from atoll.cloud.sole import found_or_made
from atoll.errors import CloudUnavailable

from .neutron_double import NeutronDouble, neutron_double


@pytest.fixture
def double() -> Iterator[tuple[NeutronDouble, Api]]:
    with neutron_double() as made:
        yield made


def is_whole(thing: Json) -> bool:
    return bool(thing["subnets"])


def test_of_workers_that_make_one_at_once_one_wins(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    server.hold = threading.Barrier(4, action=lambda: setattr(server, "hold", None))

    def begin(_: int) -> str:
        made = Neutron(api, "race").networks.provide("service_network", is_whole)
        server.things["networks"][made["id"]]["subnets"] = ["made whole"]
        return str(made["id"])

    with ThreadPoolExecutor(4) as pool:
        winners = set(pool.map(begin, range(4)))
    assert winners == set(server.things["networks"])
    assert len(winners) == 1


def test_of_subnets_that_neutron_let_pass_at_the_same_moment_one_stays(
    double: tuple[NeutronDouble, Api],
) -> None:
    server, api = double
    server.hold = threading.Barrier(2, action=lambda: setattr(server, "hold", None))

    def begin(_: int) -> Json:
        subnets = Subnets(Neutron(api, "race"))
        return subnets.provide("share_server/1", "net", parsed("10.1.0.0/28"), gateway=True)

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(begin, range(2))
    assert first == second
    assert list(server.things["subnets"]) == [first["id"]]


def test_a_subnet_that_may_be_taken_back_is_nobody_elses(
    double: tuple[NeutronDouble, Api],
) -> None:
    """Two are made at the same moment, and go again; a third worker comes in between."""
    server, api = double
    server.hold = threading.Barrier(2, action=lambda: setattr(server, "hold", None))
    server.seconds = 0.2
    made = threading.Event()

    def begin(number: int) -> Json:
        if number == 2:
            made.wait(10)
        subnets = Subnets(Neutron(api, "race"))
        return subnets.provide("share_server/1", "net", parsed("10.1.0.0/28"), gateway=True)

    with ThreadPoolExecutor(3) as pool:
        all_three = [pool.submit(begin, number) for number in range(3)]
        while len(server.things.get("subnets", {})) < 2:
            time.sleep(0.001)
        made.set()
        found = {each.result()["id"] for each in all_three}
    assert list(server.things["subnets"]) == list(found)


def test_a_draft_of_a_dead_worker_is_gone_on_with(
    double: tuple[NeutronDouble, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.5)
    _, api = double
    neutron = Neutron(api, "race")
    draft = neutron.subnets.create("s/1", name=DRAFT, network_id="net", cidr="10.1.0.0/28")
    found = Subnets(neutron).provide("s/1", "net", parsed("10.1.0.0/28"), gateway=True)
    assert (found["id"], found["name"]) == (draft["id"], "atoll-s-1")


def test_what_a_dead_worker_has_begun_is_gone_on_with(
    double: tuple[NeutronDouble, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.5)
    _, api = double
    networks = Neutron(api, "race").networks
    begun = networks.create("service_network")
    assert networks.provide("service_network", is_whole)["id"] == begun["id"]


def test_what_a_lost_answer_told_of_is_found(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    server.lose_answers = 1
    ports = Neutron(api, "race").ports

    def provide() -> Json:
        return found_or_made(
            lambda: next(iter(ports.of("share_server/1")), None),
            lambda _: ports.create("share_server/1"),
        )

    assert provide() == provide()
    assert len(server.things["ports"]) == 1


def test_patience_with_a_silent_neutron_ends(
    double: tuple[NeutronDouble, Api], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TRIES", 2)
    server, api = double
    server.lose_answers = 100
    ports = Neutron(api, "race").ports
    with pytest.raises(CloudUnavailable):
        found_or_made(lambda: None, lambda _: ports.create("share_server/1"))


def test_only_what_carries_our_mark_is_ours(double: tuple[NeutronDouble, Api]) -> None:
    _, api = double
    ours, theirs = Neutron(api, "one"), Neutron(api, "one2")
    made = ours.networks.create("share_network/1")
    others = theirs.networks.create("share_network/1")
    assert ours.owner_of(made) == "share_network/1"
    assert theirs.owner_of(made) is None
    assert [each["id"] for each in ours.networks.of("share_network/1")] == [made["id"]]
    assert [each["id"] for each in theirs.networks.of("share_network/1")] == [others["id"]]
    assert ours.owner_of({"description": None}) is None


def test_ids_that_are_none_never_reach_a_path(double: tuple[NeutronDouble, Api]) -> None:
    server, api = double
    for wrong in ("", "absent", "../routers", "a?b=c", "0" * 31):
        assert Neutron(api, "one").networks.get(wrong) is None
    assert server.requests == []
