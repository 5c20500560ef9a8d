"""The field's own clients against a real server on loopback, with no Keystone anywhere."""

from __future__ import annotations

import importlib.util
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("manilaclient") is None,
        reason="the clients are not installed (uv sync --group clients)",
    ),
    pytest.mark.filterwarnings("ignore"),
]

STARTS_WITHIN = 60.0


@dataclass
class Server:
    """``atoll serve`` on the simulated cloud."""

    url: str
    token: str
    state: Path

    def openstack(self, *commands: str) -> list[Any]:
        """Run ``openstack share …`` commands; what each printed, as JSON. All must succeed."""
        outcomes = self.attempt(*commands)
        for command, outcome in zip(commands, outcomes, strict=True):
            assert outcome["code"] == 0, (command, outcome["err"])
        return [json.loads(one["out"]) if one["out"].strip() else None for one in outcomes]

    def attempt(self, *commands: str) -> list[dict[str, Any]]:
        """Run them, and whatever comes of it."""
        arguments = [
            ["share", *command.split(), *(("-f", "json") if _prints(command) else ())]
            for command in commands
        ]
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("OS_")},
            "OS_AUTH_TYPE": "admin_token",
            "OS_ENDPOINT": self.url,
            "OS_TOKEN": self.token,
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", str(Path(__file__).with_name("osc.py"))],
            input=json.dumps(arguments),
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=True,
        )
        outcomes: list[dict[str, Any]] = json.loads(done.stdout)
        return outcomes


def _prints(command: str) -> bool:
    """Whether the command has something to show, and so can show it as JSON."""
    words = set(command.split())
    return bool(words & {"list", "show", "create"}) and "access" not in words


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    state = tmp_path_factory.mktemp("state")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "ATOLL_STATE_DIR": str(state),
        "ATOLL_CLOUD": "memory",
        "ATOLL_API__PORT": str(port),
    }
    log = (state / "serve.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "atoll.cli.main", "serve"],
        env=environment,
        stdout=log,
        stderr=log,
        start_new_session=True,
    )
    try:
        _wait(f"http://127.0.0.1:{port}/healthcheck", process, state)
        token = (state / "admin.token").read_text().strip()
        yield Server(f"http://127.0.0.1:{port}/v2", token, state)
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        log.close()


def _wait(url: str, process: subprocess.Popen[bytes], state: Path) -> None:
    """Until a worker is up, too."""
    deadline = time.monotonic() + STARTS_WITHIN
    while True:
        try:
            with urlopen(url, timeout=5):
                return
        except (URLError, OSError):
            said = (state / "serve.log").read_text()
            assert process.poll() is None, said
            assert time.monotonic() < deadline, said
            time.sleep(0.3)


def test_the_administrators_round(server: Server) -> None:
    types, made, services, pools, messages, limits, zones = server.openstack(
        "type list",
        "type create gold true --description fast --extra-specs snapshot_support=True",
        "service list",
        "pool list --detail",
        "message list",
        "limits show --absolute",
        "availability zone list",
    )
    assert [(one["Name"], one["Is Default"]) for one in types] == [("default", True)]
    assert (made["name"], made["description"]) == ("gold", "fast")
    assert [(one["Binary"], one["State"]) for one in services] == [("manila-share", "up")]
    assert pools[0]["Capabilities"]["total_capacity_gb"] > 0
    assert messages == []
    assert {one["Name"]: one["Value"] for one in limits}["maxTotalShares"] == 50
    assert [one["Name"] for one in zones] == ["nova"]
    server.openstack(
        "type set gold --public false",
        "type access create gold default",
        "type unset gold snapshot_support",
        "type delete gold",
        f"service set {services[0]['Host']} manila-share --disable",
        f"service set {services[0]['Host']} manila-share --enable",
    )


def test_quotas_by_project_name(server: Server) -> None:
    before, _, by_type, after, detail, _, end = server.openstack(
        "quota show default",
        "quota set default --shares 7 --per-share-gigabytes 5",
        "quota show default --share-type default",
        "quota show default",
        "quota show default --detail",
        "quota delete default",
        "quota show default --defaults",
    )
    (unknown,) = server.attempt("quota show nobody")
    assert (before["shares"], after["shares"], end["shares"]) == (50, 7, 50)
    assert by_type["per_share_gigabytes"] == 5
    assert "share_networks" not in by_type
    assert "limit" in str(detail["shares"])
    assert unknown["code"] != 0
    assert "No project with a name or ID of 'nobody'" in unknown["err"]


def test_share_networks(server: Server) -> None:
    made, shown, listed, _, _ = server.openstack(
        "network create --name mine",
        "network show mine",
        "network list --detail --name mine",
        "network set mine --name yours --description ours",
        "network delete yours --wait",
    )
    assert made["status"] == "active"
    assert shown["id"] == made["id"]
    assert [one["ID"] for one in listed] == [made["id"]]
    (left,) = server.openstack("network list")
    assert "yours" not in [one["Name"] for one in left]
    (refused,) = server.attempt("security service create active_directory")
    assert "no security services" in refused["err"]


def test_openstacksdk_without_a_microversion(server: Server) -> None:
    import openstack

    cloud = openstack.connect(
        auth_type="admin_token",
        auth={"endpoint": server.url, "token": server.token},
        shared_file_system_endpoint_override=server.url,
    )
    shared = cloud.shared_file_system
    made = [shared.create_share_network(name=f"sdk-{number}") for number in range(3)]
    names = {one.name for one in shared.share_networks(limit=1)}
    assert {"sdk-0", "sdk-1", "sdk-2"} <= names
    found = [one.id for one in shared.share_networks(details=True, name="sdk-1")]
    assert found == [made[1].id]
    shared.update_share_network(made[1], description="changed")
    assert shared.get_share_network(made[1].id).description == "changed"
    for network in made:
        shared.delete_share_network(network)
    assert [one.name for one in shared.availability_zones()] == ["nova"]
    assert next(shared.storage_pools()).name.endswith("#memory")
    assert list(shared.user_messages()) == []
    cloud.close()
