"""Shares on the OpenStack that ``OS_CLOUD`` names, compared with manual use of its services.

First there are rounds of a bare server and of the first share on a new network, for both network
layouts. Both are in one run, so that their ratio is valid on any cloud. Then come further shares on
a running instance, compared with a volume that is created and attached directly; access rules;
extensions; ten shares at once; many shares on one instance; and the number of requests of each verb
to each service (the worker's counter ``atoll_cloud_requests``).

``ATOLL_BENCH_SHARES`` is the number of shares on the last instance (default: 60). The flavor and
the access to the service network are chosen as in the demo.
"""

from __future__ import annotations

import os
import re
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from openstack.connection import Connection

from atoll.cli.image import build
from atoll.cli.progress import make_console
from atoll.cloud.openstack import OpenStackCloud, OpenStackSettings
from atoll.config import load
from bench.create import one as one_share
from bench.deployment import BenchDeployment, on_a_real_cloud
from bench.local import CHANGES, LOOK, NEXT, ROUNDS, place, steps_of
from bench.number import Number
from bench.openstack_floor import BareServer, connection, users_network
from bench.rules import one as one_rule
from harness.openstack_choices import flavor, service_network_interface
from harness.service import free_port

SHARES = int(os.environ.get("ATOLL_BENCH_SHARES", "60"))
AT_ONCE = 10
CONFIG = """\
cloud = "openstack"
[openstack]
service_instance_flavor_id = "{flavor}"
service_network_interface = "{interface}"
[quota]
shares = -1
gigabytes = -1
share_networks = -1
[log]
format = "json"
[worker]
reconcile_interval = 3600
metrics_port = {metrics_port}
[driver]
warm_service_instances = {warm}
connect_share_server_to_tenant_network = {direct}
"""

Network = tuple[str, str]
Calls = Counter[str]


def run() -> list[Number]:
    """Run all measurements; everything is removed afterwards."""
    cloud = connection()
    bare: list[float] = []
    first: list[float] = []
    with place() as directory, ExitStack() as stack:
        choices = {"flavor": flavor(cloud), "interface": service_network_interface(cloud)}
        networks = [  # entered first, so that they are removed after the ports in them
            stack.enter_context(users_network(cloud, f"bench-{each}", f"10.209.{each}.0/24"))
            for each in range(ROUNDS + 2)
        ]
        routed = [
            stack.enter_context(users_network(cloud, f"bench-r{each}", f"10.208.{each}.0/24", True))
            for each in range(ROUNDS)
        ]
        warm = from_a_warm_instance(directory, networks[ROUNDS + 1], choices)
        with floor(cloud, directory, **choices) as bare_server:
            by_router = by_the_users_router(directory, bare_server, routed, choices)
            atoll = stack.enter_context(site(directory, choices))
            hand: list[tuple[float, float]] = []
            for number in range(ROUNDS):
                server = bare_server(number)
                bare.append(server.boot())
                if number == ROUNDS - 1:
                    hand = [server.attach_a_volume(each) for each in range(NEXT)]
                server.stop()
                with counted(atoll) as calls:
                    first.append(one_share(atoll, atoll.plug_in(networks[number]), LOOK))
        network = atoll.plugged[-1]
        return [
            Number("bare server to SSH login, by hand", bare, "s"),
            Number("first share on a network, POST to available", first, "s"),
            Number("first share / bare server", _ratios(first, bare), "x", 1.15),
            requests("  requests of a first share", calls),
            *by_router,
            warm,
            *next_shares(atoll, network, hand),
            *verbs(atoll, network),
            *at_once(atoll, networks[ROUNDS], median(first), median(each[1] for each in hand)),
            *many(atoll, network),
        ]


def from_a_warm_instance(directory: Path, plugged: Network, choices: dict[str, str]) -> Number:
    """The first share on a network, with a warm instance."""
    with site(directory / "warm", choices, warm=1) as atoll:
        atoll.until(lambda: atoll.servers() == ["active"], pause=0.2)
        network = atoll.plug_in(plugged)
        return Number("first share, from a warm instance", [one_share(atoll, network, LOOK)], "s")


def by_the_users_router(
    directory: Path,
    bare_server: Callable[[int], BareServer],
    plugged: list[Network],
    choices: dict[str, str],
) -> list[Number]:
    """The first share on a network, when the instance has one interface, like a bare server."""
    bare, first = [], []
    with site(directory / "routed", choices, direct=False) as atoll:
        for number, network in enumerate(plugged):
            server = bare_server(ROUNDS + number)
            bare.append(server.boot())
            server.stop()
            first.append(one_share(atoll, atoll.plug_in(network), LOOK))
    return [
        Number("bare server, between those", bare, "s"),
        Number("first share, by the user's router", first, "s"),
        Number("first share, by the user's router / bare server", _ratios(first, bare), "x", 1.15),
    ]


def next_shares(atoll: Cloudy, network: str, hand: list[tuple[float, float]]) -> list[Number]:
    """More shares on a running instance."""
    mark = atoll.log.stat().st_size
    with counted(atoll) as calls:
        total = [one_share(atoll, network, LOOK) for _ in range(NEXT)]
    floor_seconds = [made + attached for made, attached in hand]
    return [
        Number("volume made and attached by hand", floor_seconds, "s"),
        Number("  attached", [attached for _, attached in hand], "s"),
        Number("next share, POST to available", total, "s"),
        *(Number(f"  {step}", took, "s") for step, took in steps_of(atoll.log, mark).items()),
        Number("next share / by hand", [median(total) / median(floor_seconds)], "x", 1.5),
        requests(f"  requests of {NEXT} shares", calls),
    ]


def verbs(atoll: Cloudy, network: str) -> list[Number]:
    """Other operations with one share, and their requests."""
    share = atoll.create(network)
    path = f"/shares/{share}"

    def is_available() -> bool:
        return bool(atoll.call("GET", path)["share"]["status"] == "available")

    def is_gone() -> bool:
        with_name = atoll.call("GET", "/shares/detail")["shares"]
        return share not in {each["id"] for each in with_name}

    atoll.until(is_available)
    with counted(atoll) as rule_calls:
        rules = [one_rule(atoll, share, f"10.200.0.{each + 1}") for each in range(CHANGES)]
    sizes = []
    with counted(atoll) as size_calls:
        for each in range(CHANGES):
            begun = time.perf_counter()
            atoll.call("POST", f"{path}/action", {"extend": {"new_size": each + 2}})
            atoll.until(is_available, pause=0.02)
            sizes.append(time.perf_counter() - begun)
    begun = time.perf_counter()
    with counted(atoll) as delete_calls:
        atoll.send("DELETE", path)
        atoll.until(is_gone, pause=0.05)
    return [
        Number("one rule, POST to active", rules, "s", 1),
        requests(f"  requests of {CHANGES} rules", rule_calls),
        Number("extend, POST to available", sizes, "s"),
        requests(f"  requests of {CHANGES} extends", size_calls),
        Number("delete", [time.perf_counter() - begun], "s"),
        requests("  requests of a delete", delete_calls),
    ]


def at_once(atoll: Cloudy, plugged: Network, first: float, attach: float) -> list[Number]:
    """Ten shares on a new network, requested at the same time."""
    network = atoll.plug_in(plugged)
    before = atoll.available()
    with counted(atoll) as calls:
        begun = time.perf_counter()
        atoll.many(lambda _: atoll.create(network), AT_ONCE)
        atoll.until(lambda: atoll.available() == before + AT_ONCE, pause=0.1)
        seconds = time.perf_counter() - begun
    allowed = 1.3 * first + AT_ONCE * attach
    return [
        Number(f"{AT_ONCE} shares at once on a new network", [seconds], "s", allowed),
        requests(f"  requests of {AT_ONCE} shares at once", calls),
    ]


def many(atoll: Cloudy, network: str) -> list[Number]:
    """Many shares on one instance, all of which become available."""
    servers = len(atoll.servers())
    listed = atoll.call("GET", f"/shares?share_network_id={network}")["shares"]
    missing = SHARES - len(listed)
    before = atoll.available()
    begun = time.perf_counter()
    atoll.many(lambda _: atoll.create(network), missing)
    atoll.until(lambda: atoll.available() == before + missing, pause=0.2, seconds=900)
    seconds = time.perf_counter() - begun
    more = len(atoll.servers()) - servers
    note = f"{missing} more in {seconds:.0f} s, {more} more instances"
    return [Number("shares on one instance", [SHARES], "", note=note)]


class Cloudy(BenchDeployment):
    """A deployment whose users bring their own networks."""

    def __init__(self, directory: Path, **choices: Any) -> None:
        self._metrics_port = free_port()
        config = CONFIG.format(metrics_port=self._metrics_port, **choices)
        super().__init__(directory, config=config)
        self.plugged: list[str] = []

    def plug_in(self, network: Network) -> str:
        """Create a share network on a user's network and subnet; return its id."""
        wish = {"neutron_net_id": network[0], "neutron_subnet_id": network[1]}
        answer = self.call("POST", "/share-networks", {"share_network": wish})
        self.plugged.append(str(answer["share_network"]["id"]))
        return self.plugged[-1]

    def servers(self) -> list[str]:
        """The statuses of the share servers."""
        return [each["status"] for each in self.call("GET", "/share-servers")["share_servers"]]

    def calls(self) -> Calls:
        """Requests to OpenStack so far, by service and method."""
        url = f"http://127.0.0.1:{self._metrics_port}/metrics"
        with urllib.request.urlopen(url) as answer:
            text = answer.read().decode()
        found: Calls = Counter()
        line = r'^atoll_cloud_requests_total\{method="(\w+)",service="([\w-]+)"\} (\S+)$'
        for method, service, count in re.findall(line, text, re.MULTILINE):
            found[f"{service} {method}"] = int(float(count))
        return found


@contextmanager
def site(
    directory: Path, choices: dict[str, str], *, warm: int = 0, direct: bool = True
) -> Iterator[Cloudy]:
    """Upload the service image, and run a deployment with ``warm`` warm instances."""
    layout = "true" if direct else "false"
    atoll = Cloudy(directory / "service", warm=warm, direct=layout, **choices)
    build(load(), make_console(stderr=True))
    atoll.run("image", "upload")
    with on_a_real_cloud(atoll):
        yield atoll


@contextmanager
def floor(
    cloud: Connection, directory: Path, *, flavor: str, interface: Any
) -> Iterator[Callable[[int], BareServer]]:
    """Yield a function that makes bare servers; remove their service network afterwards."""
    settings = OpenStackSettings(
        state_dir=directory / "bare",
        cloud=os.environ.get("OS_CLOUD", ""),
        service_instance_flavor_id=flavor,
        service_network_interface=interface,
        service_network_cidr="10.248.0.0/20",
    )
    hand = OpenStackCloud(f"bench-{os.getpid()}", settings)

    def make(number: int) -> BareServer:
        return BareServer(cloud, hand, directory / f"bare-{number}")

    try:
        yield make
    finally:
        hand.purge()
        hand.close()


@contextmanager
def counted(atoll: Cloudy) -> Iterator[Calls]:
    """Yield a counter, which afterwards has the requests that were sent meanwhile."""
    calls: Calls = Counter()
    before = atoll.calls()
    yield calls
    calls.update(atoll.calls() - before)


def requests(what: str, calls: Calls) -> Number:
    """The number of requests, with a note about the services."""
    note = ", ".join(f"{service} {count}" for service, count in sorted(calls.items()))
    return Number(what, [calls.total()], "", note=note)


def _ratios(ours: list[float], floor: list[float]) -> list[float]:
    return [mine / bare for mine, bare in zip(ours, floor, strict=True)]
