"""Two workers of one deployment set up the same network at the same moment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import pytest

from harness.wait import wait

from .deployment import OpenStackDeployment, nothing_leaked

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


@pytest.fixture(scope="module")
def deployment() -> Iterator[OpenStackDeployment]:
    """Two workers that begin at once, where there is no service network yet."""
    made = OpenStackDeployment(workers=2)
    try:
        yield made
    finally:
        made.close()


def test_two_workers_set_up_the_same_network(deployment: OpenStackDeployment) -> None:
    with nothing_leaked(deployment), deployment.network("10.76.0.0/24") as (one, users):
        other = deployment.share_network(users)
        shares = [deployment.share(each, "new") for each in (one, other)]
        for share in shares:
            deployment.settled(share)
            assert deployment.messages(share) == []
        servers = [deployment.server_of(share) for share in shares]
        assert len({server["instance_id"] for server in servers}) == 2
        kinds = Counter((t.kind, t.owner) for t in deployment.audit.of(deployment.mark))
        for_all = {key: n for key, n in kinds.items() if not key[1].startswith("share")}
        assert for_all[("network", "service_network")] == 1
        assert for_all[("subnet", "network")] == 1
        assert for_all[("security group", "clients/10.76.0.0/24")] == 1
        assert set(for_all.values()) == {1}
        assert deployment.service.log.read_text().count("worker.started") == 2
        deployment.remove(*shares)
        deployment.shares.delete_share_network(other)
        wait("its server to go", lambda: not deployment.servers(other))
