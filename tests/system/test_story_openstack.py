"""The main job, with a client that mounts: through the ``openstack`` command, and by the SDK."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from harness.client_vm import ClientVm, CommandFailed
from harness.steps import CheckFailed, Steps
from harness.story import Story
from harness.wait import wait
from tests.system.deployment import LibvirtDeployment, gib, refused

pytestmark = [
    pytest.mark.vm,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the clients' own
]


def checksum(client: ClientVm, path: str) -> str:
    """Of the server's bytes, not of those in the client's cache."""
    client.run("echo 3 > /proc/sys/vm/drop_caches")
    return client.run(f"sha256sum {path}").split()[0]


def path_of(locations: list[dict[str, Any]]) -> str:
    return str(next(one["Path"] for one in locations))


def test_the_openstack_command(deployment: LibvirtDeployment) -> None:
    run = deployment.openstack.openstack
    deployment.network()
    client = deployment.boot_client()
    quota, _ = run("quota show default", "create NFS 1 --name one --share-network default --wait")
    assert quota["shares"] == 50
    client.wait()
    address = client.address()
    _, rules, locations, listed = run(
        f"access create one ip {address} --wait",
        "access list one -f json",
        "export location list one",
        "list",
    )
    assert [(r["Access To"], r["Access Level"], r["State"]) for r in rules] == [
        (address, "rw", "active")
    ]
    assert [(share["Name"], share["Status"]) for share in listed] == [("one", "available")]
    client.mount(path_of(locations), "/mnt/one")
    client.run("dd if=/dev/urandom of=/mnt/one/data bs=1M count=16 conv=fsync")
    written = checksum(client, "/mnt/one/data")
    before = gib(client, "/mnt/one")
    _, _, shown, snapshot = run(
        "snapshot create one --name moment --wait",
        "resize one 2 --wait",
        "show one",
        "snapshot show moment",
    )
    assert shown["size"] == 2
    assert (snapshot["name"], snapshot["status"], snapshot["size"]) == ("moment", "available", 1)
    assert before < 1.01 < 1.8 < gib(client, "/mnt/one")
    client.run("echo later > /mnt/one/later; sync")
    _, _, copies = run(
        "create NFS 3 --name two --snapshot-id moment --share-network default --wait",
        f"access create two ip {address} --access-level ro --wait",
        "export location list two",
    )
    client.mount(path_of(copies), "/mnt/two")
    assert checksum(client, "/mnt/two/data") == written == checksum(client, "/mnt/one/data")
    assert gib(client, "/mnt/two") > 2.7
    assert client.run("ls /mnt/two").split() == ["data"]
    assert "Read-only" in refused(client, "touch /mnt/two/new")
    client.unmount("/mnt/two")
    run(f"access delete one {rules[0]['ID']} --wait")
    assert refused(client, "timeout 20 ls /mnt/one")
    client.unmount("/mnt/one")
    assert refused(client, f"mount -t nfs -o vers=4.2 {path_of(locations)} /mnt/one")
    (kept,) = deployment.openstack.attempt("delete one --wait")
    assert "snapshot" in kept["err"]
    run("snapshot delete moment --wait", "delete one two --wait")
    left, messages = run("list", "message list")
    assert (left, messages) == ([], [])
    assert deployment.made() | {"networks": 2} == {
        "instances": 1,  # kept for the next share on this network
        "volumes": 1,  # with the state of its NFS server
        "snapshots": 0,
        "ports": 2,
        "networks": 2,
    }
    assert len(deployment.layers()) == 1


@pytest.fixture
def story(deployment: LibvirtDeployment) -> Story:
    steps = Steps(Console(file=io.StringIO()))
    return Story(deployment.api, steps, deployment, data_mib=8)


def test_the_storys_checks_are_real(deployment: LibvirtDeployment, story: Story) -> None:
    client = deployment.client
    network_id = story.share_network()
    share = story.create_share(network_id)
    with pytest.raises(CommandFailed, match=r"denied|No such file"):
        story.write(client, share)  # nobody has let the client in
    story.allow(client, share)
    story.write(client, share)
    path = story._export(share).partition(":")[2]
    change = f"printf x | dd of={path}/data bs=1 seek=4096 conv=notrunc,fsync 2>/dev/null"
    deployment.inside(deployment.server(share), change)
    snapshot = story.snapshot(share)
    with pytest.raises(CheckFailed, match="data differs"):
        story.from_snapshot(client, network_id, snapshot)
    client.run("umount -l /mnt/share /mnt/copy")
    deployment.api.delete_share_snapshot(snapshot.id)
    wait("the snapshot to go", lambda: not list(deployment.api.share_snapshots()), 60)
    deployment.remove(*(each for each in deployment.api.shares() if each.name.startswith("demo")))


def test_the_story_by_openstacksdk(deployment: LibvirtDeployment, story: Story) -> None:
    story.run()
    nothing = dict.fromkeys(("instances", "volumes", "snapshots", "ports"), 0)
    # Its network goes last, when the API shows nothing any more; the service network stays.
    wait("an empty cloud", lambda: deployment.made() == nothing | {"networks": 1}, 60)
    assert deployment.layers() == []
