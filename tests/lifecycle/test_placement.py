"""Where shares are placed: by their type, their zone and their hints; told as Manila tells it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from atoll.db import placement
from atoll.db import shares as share_rows
from atoll.db.tables import shares
from harness.memory_deployment import MemoryDeployment
from tests import rows

NEWEST = "2.73"
ALLOCATE_HOST = "001"
NO_VALID_HOST, FILTER_AVAILABILITY, FILTER_CAPABILITIES = "002", "007", "008"

UNMET: tuple[Mapping[str, str], ...] = (
    {"revert_to_snapshot_support": "True"},
    {"mount_snapshot_support": "<is> True"},
    {"dedupe": "<is> True"},
    {"qos": "True"},
    {"thin_provisioning": "<is> True"},
    {"capabilities:compression": "yes"},
    {"storage_protocol": "<in> GLUSTERFS"},
    {"vendor_name": "Somebody"},
    {"pool_name": "<or> fast <or> slow"},
    {"total_capacity_gb": ">= 99999999"},
    {"encryption_support": "share_server"},
    {"tier": "gold"},
)
MET: tuple[Mapping[str, str], ...] = (
    {"revert_to_snapshot_support": "False", "dedupe": "<is> False", "qos": "no"},
    {"snapshot_support": "<is>True", "capabilities:ipv4_support": "<is> True"},
    {"storage_protocol": "<in> NFS", "vendor_name": "Atoll", "pool_name": "<or> fast <or> memory"},
    {"total_capacity_gb": ">= 1", "share_backend_name": "s!= other", "vendor:tier": "gold"},
)


def make_type(deployment: MemoryDeployment, specs: Mapping[str, str]) -> str:
    wish = {
        "name": repr(sorted(specs.items())),
        "extra_specs": {"driver_handles_share_servers": "True", **specs},
    }
    return str(deployment.call("POST", "/types", {"share_type": wish})["share_type"]["id"])


def refusal(deployment: MemoryDeployment, share_id: str) -> tuple[str, str, str]:
    """Action, detail and text of the message about a share that could not be placed."""
    share = deployment.settled(share_id)
    assert (share["status"], share["host"]) == ("error", None)
    [message] = deployment.call("GET", f"/messages?resource_id={share_id}")["messages"]
    return message["action_id"], message["detail_id"], message["user_message"]


def placed(deployment: MemoryDeployment, share_id: str) -> str:
    """The host of a share that could be placed."""
    share = deployment.settled(share_id)
    assert share["status"] == "available", deployment.call("GET", "/messages")
    return str(share["host"])


def pool_names(deployment: MemoryDeployment, query: str = "") -> set[str]:
    return {
        one["name"] for one in deployment.call("GET", f"/scheduler-stats/pools{query}")["pools"]
    }


def disable(deployment: MemoryDeployment, host: str, how: str = "disable") -> None:
    deployment.call("PUT", f"/services/{how}", {"host": host, "binary": "manila-share"})


def second_host(deployment: MemoryDeployment, zone: str = "") -> None:
    """Another worker, on a host of its own, and its pool."""
    deployment.start_worker(host="annexe", zone=zone)
    deployment.until(lambda: "annexe@memory#memory" in pool_names(deployment), "the second host")


def test_a_type_that_asks_for_what_no_pool_has_is_placed_nowhere(
    deployment: MemoryDeployment,
) -> None:
    made = {make_type(deployment, specs): specs for specs in UNMET}
    asked = {deployment.create(share_type=type_id): type_id for type_id in made}
    for share_id, type_id in asked.items():
        specs = made[type_id]
        action, detail, text = refusal(deployment, share_id)
        assert (action, detail) == (ALLOCATE_HOST, FILTER_CAPABILITIES), specs
        assert "No valid host" in text
        assert ("tier" in text, "vendor_name" in text) == (False, False)  # not users' business
        assert pool_names(deployment, f"?share_type={type_id}") == set(), specs
    assert "revert_to_snapshot_support" in refusal(deployment, next(iter(asked)))[2]


def test_a_type_that_asks_for_what_a_pool_has_is_placed_there(deployment: MemoryDeployment) -> None:
    for specs in MET:
        type_id = make_type(deployment, specs)
        assert placed(deployment, deployment.create(share_type=type_id)) == "house@memory#memory", (
            specs
        )
        assert pool_names(deployment, f"?share_type={type_id}") == {"house@memory#memory"}, specs


def test_shares_and_pools_call_a_host_by_the_same_name(deployment: MemoryDeployment) -> None:
    share_id = deployment.create()
    host = placed(deployment, share_id)
    assert pool_names(deployment) == {host}
    services = deployment.call("GET", "/services?binary=manila-share")["services"]
    assert [one["host"] for one in services] == [host.partition("#")[0]]
    assert deployment.call("GET", "/share-servers?host=house@memory")["share_servers"]
    found = deployment.call("GET", f"/shares?host={host.replace('#', '%23')}")["shares"]
    assert [one["id"] for one in found] == [share_id]
    assert (
        placed(deployment, deployment.create(version=NEWEST, scheduler_hints={"only_host": host}))
        == host
    )


def test_shares_of_an_older_version_get_the_name_that_pools_have(
    deployment: MemoryDeployment,
) -> None:
    share_id = deployment.create()
    host = placed(deployment, share_id)
    with deployment.database.begin() as connection:
        rows.change(connection, shares, share_id, host="house@memory#generic")
    deployment.start_worker()
    deployment.until(lambda: deployment.share(share_id)["host"] == host, "the pool's own name")


def test_a_share_is_made_in_a_zone_of_its_type_only(deployment: MemoryDeployment) -> None:
    elsewhere = make_type(deployment, {"availability_zones": "zz,zy"})
    for version in ("2.48", NEWEST):
        action, detail, text = refusal(
            deployment, deployment.create(version=version, share_type=elsewhere)
        )
        assert (action, detail) == (ALLOCATE_HOST, FILTER_AVAILABILITY)
        assert "zz" in text
    second_host(deployment, zone="zz")
    share_id = deployment.create(version=NEWEST, share_type=elsewhere)
    assert placed(deployment, share_id) == "annexe@memory#memory"
    assert deployment.share(share_id)["availability_zone"] == "zz"
    here = deployment.create(
        version=NEWEST, share_type=make_type(deployment, {"availability_zones": "nova,zz"})
    )
    assert placed(deployment, here) == "house@memory#memory"
    asked = deployment.create(version=NEWEST, availability_zone="zz")
    assert placed(deployment, asked) == "annexe@memory#memory"

    def snapshot() -> str:
        snapshot_id = deployment.snapshot(made)
        path = f"/snapshots/{snapshot_id}"
        deployment.until(
            lambda: deployment.call("GET", path)["snapshot"]["status"] == "available",
            "the snapshot",
        )
        return snapshot_id

    both = {"snapshot_support": "True", "create_share_from_snapshot_support": "True"}
    clonable = make_type(deployment, {"availability_zones": "zz", **both})
    made = deployment.create(version=NEWEST, share_type=clonable)
    placed(deployment, made)
    copy = deployment.create(version=NEWEST, share_type=clonable, snapshot_id=snapshot())
    assert placed(deployment, copy) == "annexe@memory#memory"


def test_a_share_is_made_in_a_zone_that_its_network_has_a_subnet_for(
    deployment: MemoryDeployment,
) -> None:
    second_host(deployment, zone="zz")
    network = deployment.call(
        "POST", "/share-networks", {"share_network": {"availability_zone": "zz"}}
    )
    share_id = deployment.create(share_network_id=network["share_network"]["id"])
    assert placed(deployment, share_id) == "annexe@memory#memory"
    assert deployment.share(share_id)["availability_zone"] == "zz"


def test_hints_are_honoured_when_the_share_is_placed_and_on_each_later_try(
    new_deployment: Callable[..., MemoryDeployment],
) -> None:
    deployment = new_deployment(reconcile_interval=0.3)
    deployment.start_worker()
    first = deployment.create()
    host = placed(deployment, first)
    near = deployment.create(version=NEWEST, scheduler_hints={"same_host": first})
    away = deployment.create(version=NEWEST, scheduler_hints={"different_host": [first, near]})
    assert placed(deployment, near) == host
    deployment.until(
        lambda: deployment.call("GET", f"/messages?resource_id={away}")["messages"], "the refusal"
    )
    [message] = deployment.call("GET", f"/messages?resource_id={away}")["messages"]
    assert (message["action_id"], message["detail_id"]) == (ALLOCATE_HOST, NO_VALID_HOST)
    assert "different_host" in message["user_message"]
    assert deployment.share(near)["metadata"] == {
        "__affinity_same_host": first,
        "__affinity_different_host": away,
    }
    assert deployment.share(first)["metadata"] == {
        "__affinity_same_host": near,
        "__affinity_different_host": away,
    }
    second_host(deployment)
    deployment.until(
        lambda: deployment.share(away)["status"] == "available", "the other host to be chosen"
    )
    assert deployment.share(away)["host"] == "annexe@memory#memory"
    deployment.call("DELETE", f"/shares/{away}")
    deployment.until(
        lambda: len(deployment.call("GET", "/shares")["shares"]) == 2, "the share to go"
    )
    assert deployment.share(first)["metadata"] == {"__affinity_same_host": near}


def test_an_administrator_chooses_the_host(deployment: MemoryDeployment) -> None:
    host = placed(deployment, deployment.create())
    for unknown in ("house@memory#nope", "moon@memory#memory", "house", "house@memory#generic"):
        share_id = deployment.create(version=NEWEST, scheduler_hints={"only_host": unknown})
        action, detail, text = refusal(deployment, share_id)
        assert (action, detail) == (ALLOCATE_HOST, NO_VALID_HOST)
        assert unknown in text
    ignored = deployment.create(version="2.66", scheduler_hints={"only_host": "moon@memory#memory"})
    assert placed(deployment, ignored) == host
    second_host(deployment)
    for name in ("annexe@memory#memory", host):
        assert (
            placed(
                deployment, deployment.create(version=NEWEST, scheduler_hints={"only_host": name})
            )
            == name
        )


def test_a_disabled_host_takes_only_what_an_administrator_sends_there(
    deployment: MemoryDeployment,
) -> None:
    host = placed(deployment, deployment.create())
    disable(deployment, "house@memory")
    action, detail, text = refusal(deployment, deployment.create())
    assert (action, detail) == (ALLOCATE_HOST, NO_VALID_HOST)
    assert "disabled" in text
    for name in (host, "house@memory"):
        assert (
            placed(
                deployment, deployment.create(version=NEWEST, scheduler_hints={"only_host": name})
            )
            == host
        )
    second_host(deployment)
    assert placed(deployment, deployment.create()) == "annexe@memory#memory"


def test_the_other_kind_of_back_end_is_told_as_a_capability(deployment: MemoryDeployment) -> None:
    specs = {"driver_handles_share_servers": "False"}
    wish = {"share_type": {"name": "common", "extra_specs": specs}}
    deployment.call("POST", "/types", wish)
    share_id = deployment.create(share_type="common", share_network_id=None)
    action, detail, text = refusal(deployment, share_id)
    assert (action, detail) == (ALLOCATE_HOST, FILTER_CAPABILITIES)
    assert "driver_handles_share_servers" in text


def test_a_hint_counts_that_came_while_the_share_waited_to_be_placed(
    deployment: MemoryDeployment,
) -> None:
    """As when the share was read, and another that names it was asked for and placed first."""
    first = deployment.create()
    host = placed(deployment, first)
    late = deployment.create(version=NEWEST, scheduler_hints={"only_host": "moon@memory#memory"})
    deployment.until(lambda: deployment.share(late)["status"] == "error", "the refusal")
    with deployment.database.read() as connection:
        seen = share_rows.get(connection, late)
    assert seen is not None
    named = deployment.create(version=NEWEST, scheduler_hints={"different_host": late})
    assert placed(deployment, named) == host
    with deployment.database.begin() as connection:
        assert placement.hosts_of_hints(connection, seen) == (set(), {host})
