"""A newer service image, while a client writes."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.system.deployment import LibvirtDeployment
from tests.system.test_bad_days import WRITER, Writing, check_data

pytestmark = [
    pytest.mark.vm,
    pytest.mark.long,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


def test_instances_are_upgraded_under_a_client(deployment: LibvirtDeployment) -> None:
    deployment.network()
    deployment.boot_client()
    share = deployment.available(deployment.share("used"))
    client = deployment.client
    deployment.allow(share, client.address())
    client.mount(deployment.export(share), "/mnt/used")
    client.run("dd if=/dev/urandom of=/mnt/used/data bs=1M count=8 conv=fsync")
    client.run("sha256sum /mnt/used/data > /tmp/sum")
    client.put(WRITER, "/tmp/writer.py")
    before, export, old = deployment.made(), deployment.export(share), deployment.server(share)

    newer = deployment.place / "newer.qcow2"
    shutil.copyfile(deployment.image, newer)
    with newer.open("ab") as file:
        file.write(bytes(512))  # another image, as far as anybody can tell
    deployment.image = newer
    deployment.restart()
    assert [
        s["is_current"] for s in json.loads(deployment.service.run("server", "list", "--json"))
    ] == [False]
    with Writing(client) as writing:
        told = deployment.service.run("server", "upgrade", "--timeout", "250")
        check_data(client, seconds=240)
    assert old["server_id"] in told
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    new = deployment.server(share)
    assert new["instance_id"] != old["instance_id"]
    assert new["image_id"] != old["image_id"]
    # The new instance has booted at a port of its own, while the old one served (decision 33).
    now = before | {"ports": before["ports"] + 1}
    assert (deployment.export(share), deployment.made()) == (export, now)
    assert "newest" in deployment.service.run("server", "upgrade")
