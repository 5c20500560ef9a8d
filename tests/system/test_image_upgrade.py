"""A newer service image, while a client writes."""

from __future__ import annotations

import json
import shutil

import pytest

from tests.system.site import Site
from tests.system.test_bad_days import WRITER, Writing, check_data

pytestmark = [
    pytest.mark.vm,
    pytest.mark.timeout(600),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]


def test_instances_are_upgraded_under_a_client(site: Site) -> None:
    site.network()
    site.boot_client()
    share = site.available(site.share("used"))
    client = site.client
    site.allow(share, client.address())
    client.mount(site.export(share), "/mnt/used")
    client.run("dd if=/dev/urandom of=/mnt/used/data bs=1M count=8 conv=fsync")
    client.run("sha256sum /mnt/used/data > /tmp/sum")
    client.put(WRITER, "/tmp/writer.py")
    before, export, old = site.made(), site.export(share), site.server(share)

    newer = site.place / "newer.qcow2"
    shutil.copyfile(site.image, newer)
    with newer.open("ab") as file:
        file.write(bytes(512))  # another image, as far as anybody can tell
    site.image = newer
    site.restart()
    assert [s["is_current"] for s in json.loads(site.service.run("server", "list", "--json"))] == [
        False
    ]
    with Writing(client) as writing:
        told = site.service.run("server", "upgrade", "--timeout", "250")
        check_data(client, seconds=240)
    assert old["server_id"] in told
    assert (writing.seen["errors"], writing.seen["writes"] > 0) == (0, True)
    new = site.server(share)
    assert new["instance_id"] != old["instance_id"]
    assert new["image_id"] != old["image_id"]
    assert (site.export(share), site.made()) == (export, before)
    assert "newest" in site.service.run("server", "upgrade")
