"""The demo's story on a real cloud, with a user's server that mounts, in each way to connect it."""

from __future__ import annotations

import io
import shutil
import tempfile
from collections.abc import Iterator
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import openstack
import pytest
from openstack.shared_file_system.v2._proxy import Proxy
from rich.console import Console

from harness.client_server import ClientServer
from harness.machine import USER
from harness.on_openstack import OnOpenStack
from harness.steps import Steps
from harness.story import Story, connect
from harness.user_network import CIDR

pytestmark = [
    pytest.mark.openstack,
    pytest.mark.timeout(900),
    pytest.mark.filterwarnings("ignore"),  # the SDK's own
]

NFS = 2049
SERVICE_CIDR = "10.239.0.0/16"


@pytest.fixture
def directory() -> Iterator[Path]:
    # As the demo's own; not pytest's, whose paths are too long for SSH's control sockets.
    path = Path(tempfile.mkdtemp(prefix="atoll-system-", dir="/var/tmp"))
    path.chmod(0o711)
    yield path
    shutil.rmtree(path)


class Told(Steps):
    """The steps, and what each has seen."""

    def __init__(self) -> None:
        super().__init__(Console(file=io.StringIO()))

    def saw(self, title: str) -> str:
        return next(step.detail for step in self._steps if step.title == title)


def run_story(place: OnOpenStack) -> Told:
    """All of the story; returns when nothing is left of it."""
    told = Told()
    try:
        place.prepare(told)
        Story(connect(place.service.endpoint, place.service.token), told, place, data_mib=8).run()
    finally:
        left = place.stop()
        log = place.service.log
        print(log.read_text() if log.exists() else "no log")  # noqa: T201 - where it has failed
    assert left == []
    return told


def address_of(told: Told) -> str:
    """Where the client has mounted from."""
    return told.saw("1 GiB NFS share").partition(":")[0]


def another_project() -> str:
    """Id of a project that isn't Atoll's, in which we may be the user."""
    connection: Any = openstack.connect(app_name="atoll-test")
    try:
        found = connection.identity.get("/auth/projects").json()["projects"]
        others = [
            each
            for each in found
            if each["id"] != connection.current_project_id
            if not each["name"].startswith("atoll-test")  # another test's, soon gone
        ]
    finally:
        connection.close()
    if not others:
        pytest.skip("our credentials have no role in a second project")
    return str(min(others, key=lambda each: str(each["name"]))["id"])


@pytest.mark.parametrize("whose", ["own-project", "another-project"])
@pytest.mark.parametrize(
    ("directly", "cidr"),
    [
        pytest.param(True, CIDR, id="in-the-users-network"),
        pytest.param(False, SERVICE_CIDR, id="by-the-users-router"),
    ],
)
def test_a_guest_mounts(directory: Path, directly: bool, cidr: str, whose: str) -> None:
    driver = {
        "connect_share_server_to_tenant_network": directly,
        "service_network_cidr": SERVICE_CIDR,
    }
    project = another_project() if whose == "another-project" else ""
    quiet = Console(file=io.StringIO())
    place = OnOpenStack(directory, quiet, {"driver": driver}, user_project=project)
    told = run_story(place)
    assert ip_address(address_of(told)) in ip_network(cidr)
    users, ours = place.user.current_project_id, place.connection.current_project_id
    assert (users == ours) == (whose == "own-project")


class WithCommonServer(OnOpenStack):
    """A deployment whose shares are all on a server that the administrator has made.

    The server is in the user's network; Atoll reaches it at a floating address.
    """

    def _start(self, steps: Steps) -> None:
        self.network.let_in(NFS)
        self.filer: ClientServer = self.boot_client("filer")
        self.filer.wait()
        self.filer_address = self.filer.address()
        driver = {
            "driver_handles_share_servers": False,
            "service_instance_name_or_id": self.filer.server_name,
            "service_net_name_or_ip": self.filer.login_address,
            "tenant_net_name_or_ip": self.network.id,
            "service_instance_user": USER,
            "path_to_private_key": self.filer.login_key,
            "service_instance_host_key": self.filer.host_key,
        }
        self.configure({"driver": driver, "openstack": {"service_network_interface": "none"}})
        super()._start(steps)

    def share_network(self, _shares: Proxy) -> tuple[str, str]:
        return "", "none is needed"


def test_a_guest_mounts_from_the_common_server(directory: Path) -> None:
    place = WithCommonServer(directory, Console(file=io.StringIO()))
    assert address_of(run_story(place)) == place.filer_address
