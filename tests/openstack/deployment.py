"""A deployment on the OpenStack that ``OS_CLOUD`` names, in a project of its own, behind a proxy.

It needs an administrator's credentials: quotas and states are set as an administrator would.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import openstack
from openstack.connection import Connection
from rich.console import Console

from atoll.cli.bootstrap import known_deployment
from atoll.cli.image import upload
from atoll.cloud.openstack.api import Api
from atoll.cloud.openstack.cinder import OWNER
from atoll.config import load
from atoll.db.database import Database
from atoll.driver.identity import InstanceKeys
from atoll.lifecycle.seal import Seal
from atoll.lifecycle.storage import DatabaseStorage
from atoll.model.keys import server_key
from harness import openstack_choices as choices
from harness.audit import Audit, deployment_mark
from harness.service import Service
from harness.story import MICROVERSION, connect
from harness.wait import wait
from tests.cloud.openstack_place import UsersNetwork, users_network

from .proxy import Proxy

SERVICES = ("identity", "compute", "block-storage", "network", "image")
FOR_ALL = ("service_network", "network", "ssh", "host/")
"""Owners of what serves the whole deployment: it goes with that, in a purge."""

CONFIG = """
cloud = "openstack"
[worker]
lease = 6
reconcile_interval = 4
[driver]
replace_dead_after = 20
service_network_cidr = "{cidr}"
[openstack]
cloud = "proxied"
service_instance_flavor_id = "{flavor}"
service_network_interface = "{interface}"
max_time_to_attach = 40
[log]
format = "json"
"""


class Project:
    """A project of the tests' own: its quotas are nobody else's. We are its administrator."""

    def __init__(self) -> None:
        self._admin: Any = openstack.connect(app_name="atoll-test")
        identity: Any = self._admin.identity
        self.name = f"atoll-test-{uuid4().hex[:6]}"
        self.id = str(identity.create_project(name=self.name, domain_id="default").id)
        role = identity.find_role("admin", ignore_missing=False)
        identity.assign_project_role_to_user(self.id, self._admin.current_user_id, role)
        self.connection: Connection = self._admin.connect_as_project(
            {"id": self.id, "name": self.name}
        )

    def remove(self) -> None:
        """With its images, and the default security group that Neutron has made for it."""
        self._sweep()
        images: Any = self._admin.image
        for image in images.images(owner=self.id):
            images.delete_image(image.id)
        neutron: Any = self._admin.network
        for group in neutron.security_groups(project_id=self.id):
            neutron.delete_security_group(group.id)
        self._admin.identity.delete_project(self.id)
        self.connection.close()
        self._admin.close()

    def _sweep(self) -> None:
        """What a test that has failed left behind; the audit has told of it."""
        cloud: Any = self.connection
        for server in cloud.compute.servers():
            cloud.compute.delete_server(server)
            cloud.compute.wait_for_delete(server)
        for port in cloud.network.ports(project_id=self.id):
            if not port.device_owner.startswith("network:"):
                cloud.network.delete_port(port)
        for network in cloud.network.networks(project_id=self.id):
            cloud.network.delete_network(network)


class OpenStackDeployment:
    """``atoll serve``, its users' networks, and what is seen of both from outside."""

    def __init__(self, workers: int = 1) -> None:
        """``workers``: how many there are; the first is the service's own."""
        with ExitStack() as ends:
            self._begin(ends, workers)
            self._ends = ends.pop_all()

    def _begin(self, ends: ExitStack, workers: int) -> None:
        self.project = Project()
        ends.callback(self.project.remove)
        self.cloud: Any = self.project.connection
        self.audit = Audit(self.project.connection)
        self.proxy = Proxy({name: self._endpoint(name) for name in SERVICES})
        ends.callback(self.proxy.close)
        self.place = Path(tempfile.mkdtemp(prefix="atoll-openstack-", dir="/var/tmp"))
        self.place.chmod(0o711)
        ends.callback(shutil.rmtree, self.place, ignore_errors=True)
        self._write_clouds()
        before = os.environ.get("OS_CLIENT_CONFIG_FILE")
        os.environ["OS_CLIENT_CONFIG_FILE"] = str(self._clouds)
        ends.callback(_put_back, "OS_CLIENT_CONFIG_FILE", before)
        options = {
            "flavor": choices.flavor(self.cloud),
            "interface": choices.service_network_interface(self.cloud),
            # A host may be in several deployments' service networks; those of its project it sees.
            "cidr": f"10.{random.randrange(192, 224)}.0.0/16",
        }
        self.service = Service(self.place / "service", config=CONFIG.format(**options))
        upload(load(self.service.config), Console(stderr=True))
        ends.callback(self.service.stop)
        self._others = [self._other_worker() for _ in range(workers - 1)]
        self.service.start()
        self.shares = connect(self.service.endpoint, self.service.token)

    def close(self) -> None:
        """Take everything away, and say what was left behind."""
        try:
            for worker in self._others:
                worker.terminate()
                worker.wait(60)
            self.service.stop()
            mark = self.mark
            self.service.run("purge", "--yes")
            left = self.audit.left(mark)
        finally:
            lines = self.service.log.read_text().splitlines()
            print("\n".join(line for line in lines if '"GET"' not in line))  # noqa: T201
            self._ends.close()
        assert left == []

    def _endpoint(self, service: str) -> str:
        if service == "identity":
            return str(self.cloud.config.get_auth_args()["auth_url"])
        return str(getattr(self.cloud, service.replace("-", "_")).get_endpoint())

    @property
    def _clouds(self) -> Path:
        return self.place / "clouds.yaml"

    def _write_clouds(self) -> None:
        auth = dict(self.cloud.config.get_auth_args())
        for key in [key for key in auth if key.startswith("project_")]:
            del auth[key]
        auth |= {"project_id": self.project.id, "auth_url": self.proxy.address(auth["auth_url"])}
        entry = {"auth_type": self.cloud.config.config["auth_type"], "auth": auth}
        if region := self.cloud.config.region_name:
            entry["region_name"] = region
        self._clouds.touch(mode=0o600)
        self._clouds.write_text(json.dumps({"clouds": {"proxied": entry}}))

    def _other_worker(self) -> subprocess.Popen[bytes]:
        """One beside the service's own, on the same database."""
        self.service.run("bootstrap")
        argv = [sys.executable, "-m", "atoll.cli.main", "--config", str(self.service.config)]
        with self.service.log.open("ab") as log:
            return subprocess.Popen([*argv, "worker"], stdout=log, stderr=log)

    # --- the API --------------------------------------------------------------------------------

    def get(self, path: str) -> Any:
        """The body of a GET."""
        return self.shares.get(path, microversion=MICROVERSION).json()

    @contextmanager
    def network(self, cidr: str) -> Iterator[tuple[str, UsersNetwork]]:
        """A share network on a network of a user's own, and that; both go in the end."""
        api = Api(self.project.connection, "network")
        with users_network(api, cidr, gateway=True, router=False) as made:
            share_network = self.share_network(made)
            yield share_network, made
            self.shares.delete_share_network(share_network)
            wait("the share servers to go", lambda: not self.servers(share_network))
            wait("their ports to go", lambda: not self._ports(made))

    def share_network(self, users: UsersNetwork) -> str:
        """A share network there."""
        made = self.shares.create_share_network(
            neutron_net_id=users.network_id, neutron_subnet_id=users.subnet_id
        )
        return str(made.id)

    def _ports(self, users: UsersNetwork) -> list[Any]:
        found = self.cloud.network.ports(network_id=users.network_id)
        return [port for port in found if port.device_owner != "network:dhcp"]

    def servers(self, share_network: str) -> list[dict[str, Any]]:
        """Share servers of a share network."""
        found = self.get("/share-servers")["share_servers"]
        return [each for each in found if each["share_network_id"] == share_network]

    def share(self, share_network: str, name: str, size: int = 1) -> Any:
        """A new share, while it is being made."""
        return self.shares.create_share(
            name=name, size=size, share_protocol="NFS", share_network_id=share_network
        )

    def settled(self, share: Any, status: str = "available", seconds: float = 240) -> Any:
        """The share, once it has this status; whatever else it was before."""

        def look() -> Any:
            seen = self.shares.get_share(share.id)
            return seen if seen.status == status else None

        try:
            return wait(f"status {status}", look, seconds)
        except AssertionError as error:
            now = self.shares.get_share(share.id).status
            raise AssertionError(f"{error}; it is {now}: {self.messages(share)}") from error

    def remove(self, *shares: Any) -> None:
        """Delete shares; returns when they are gone."""
        for share in shares:
            self.shares.delete_share(share.id)
        ids = {share.id for share in shares}
        wait("the shares to go", lambda: not ids & {s.id for s in self.shares.shares()})

    def messages(self, of: Any) -> list[str]:
        """What its user has been told of a share, or of what has this id."""
        resource_id = getattr(of, "id", of)
        told = self.shares.user_messages()
        return [each.user_message for each in told if each.resource_id == resource_id]

    def told(self, of: Any, words: str, seconds: float = 120) -> str:
        """The message with these words, once it is there."""

        def look() -> str:
            return next((text for text in self.messages(of) if words in text), "")

        try:
            return str(wait(f"a message with {words!r}", look, seconds))
        except AssertionError as error:
            raise AssertionError(f"{error}, but these: {self.messages(of)}") from error

    def server_of(self, share: Any) -> dict[str, Any]:
        """Details of its share server."""
        server_id = self.get(f"/shares/{share.id}")["share"]["share_server_id"]
        details = self.get(f"/share-servers/{server_id}/details")["details"]
        return {**details, "server_id": server_id}

    def export(self, share: Any) -> str:
        """Where clients find it."""
        found = self.shares.export_locations(share.id)
        return str(next(each.path for each in found if not each.is_admin))

    # --- the cloud ------------------------------------------------------------------------------

    def volume_of(self, share: Any) -> Any:
        """Its volume in Cinder. There is exactly one."""
        volumes = self.cloud.block_storage.volumes()
        [volume] = [v for v in volumes if v.metadata.get(OWNER) == f"share/{share.id}"]
        return volume

    def things(self) -> set[str]:
        """All that the deployment has made for somebody, a line each: the leak audit."""
        return {
            f"{thing.kind} {thing.id} of {thing.owner}"
            for thing in self.audit.of(self.mark)
            if not thing.owner.startswith(FOR_ALL) and not thing.detail.startswith("network:")
        }

    @property
    def mark(self) -> str:
        """What the deployment marks its things with."""
        return deployment_mark(known_deployment(self._database) or "")

    @cached_property
    def _database(self) -> Database:
        return Database(f"sqlite:///{self.service.state / 'atoll.sqlite'}")

    def inside(self, share: Any, script: str) -> str:
        """Run a script as root in its service instance, as the operator could."""
        server = self.server_of(share)
        seal = Seal.from_file(self.service.state / "secret.key")
        storage = DatabaseStorage(self._database, seal, None)
        keys = InstanceKeys(storage, server_key(server["server_id"]))
        access = keys.access(server["username"], server["ip"])
        key, hosts = self.place / "key", self.place / "hosts"
        key.touch(mode=0o600)
        key.write_text(access.private_key.rstrip("\n") + "\n")
        hosts.write_text(f"instance {access.host_key_public.strip()}\n")
        argv = ["ssh", "-F", "none", "-i", str(key), "-o", "BatchMode=yes", "-o", "LogLevel=ERROR"]
        argv += ["-o", f"UserKnownHostsFile={hosts}", "-o", "HostKeyAlias=instance"]
        argv += ["-o", "ConnectTimeout=30", f"{access.user}@{access.address}", "sudo -n sh -e"]
        done = subprocess.run(
            argv, input=script, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    # --- accidents --------------------------------------------------------------------------------

    @contextmanager
    def killed(self, service: str, method: str, path: str) -> Iterator[None]:
        """The worker is killed when the service has taken this request, before it knows of that."""
        worker = self.service.children()["worker"]

        def kill(_: object) -> None:
            os.kill(worker, signal.SIGKILL)

        with self.proxy.rule(service, method, path, after=kill, once=True) as rule:
            yield
            assert rule.seen.wait(180), f"nobody asked {service} for {method} {path}"
        wait("another worker", lambda: self.service.children().get("worker", worker) != worker, 60)


@contextmanager
def nothing_leaked(deployment: OpenStackDeployment) -> Iterator[None]:
    """What is made within is gone in the end, in the cloud as well."""
    before = deployment.things()
    yield
    try:
        wait("what was made to go", lambda: deployment.things() == before, 90)
    except AssertionError:
        now = deployment.things()
        raise AssertionError(f"left: {now - before}; missing: {before - now}") from None


def _put_back(name: str, value: str | None) -> None:
    if value is None:
        os.environ.pop(name, None)
    else:
        os.environ[name] = value
