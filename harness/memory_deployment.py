"""A deployment on the simulated cloud: the API in process, workers as processes to kill."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sqlite3
from collections.abc import Callable
from contextlib import closing
from http import HTTPStatus
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import msgspec
from falcon.testing import TestClient

from atoll import log
from atoll.api.app import create_app
from atoll.cli import bootstrap
from atoll.cloud.base import Volume
from atoll.cloud.memory import MemoryCloud
from atoll.config import DatabaseSettings, Driver, Settings, Worker
from atoll.db import projects
from atoll.db.database import Database
from harness.wait import NotInTime, wait

LEASE = 0.6
"""Seconds; short, so that a dead worker's work is taken over while a test waits."""

CLIENT = "10.0.0.201"

ENDS = "[df]e*e_instance"
"""Calls that end an instance: ``delete_instance`` and ``fence_instance``."""

_forks = multiprocessing.get_context("forkserver")
# Workers fork from a process that has imported everything, so that each starts at once.
_forks.set_forkserver_preload(
    ["atoll.cli.worker", "atoll.cloud.memory", "harness.memory_deployment"]
)


class MemoryDeployment:
    """One deployment. ``close`` ends its workers."""

    def __init__(self, directory: Path, database_url: str, **driver: Any) -> None:
        log.configure("error", "json")
        interval = driver.pop("reconcile_interval", 3600)
        worker = Worker(lease=driver.pop("lease", LEASE), reconcile_interval=interval)
        self.settings = Settings(
            state_dir=directory,
            cloud="memory",
            host="house",
            database=DatabaseSettings(url=database_url),
            worker=worker,
            driver=Driver(**driver),
        )
        self.database = Database(database_url)
        prepared = bootstrap.prepare(self.settings, self.database)
        self.cloud = MemoryCloud(
            prepared.deployment_id, path=directory / "memory-cloud.sqlite", silence=0.05
        )
        self._token = prepared.token_file.read_text().strip()
        self._http = TestClient(create_app(self.settings, self.database))
        self._network_id = ""
        if not self.settings.driver.connect_share_server_to_tenant_network:
            self._network_id = self._users_network()
        self._workers: list[BaseProcess] = []

    def share_volumes(self) -> list[Volume]:
        """The volumes of shares, without those that hold the state of servers."""
        return [v for v in self.cloud.volumes.list_volumes() if v.owner.startswith("share/")]

    def configure(self, **driver: Any) -> None:
        """Give workers that start from now on other options of the driver."""
        changed = msgspec.structs.replace(self.settings.driver, **driver)
        self.settings = msgspec.structs.replace(self.settings, driver=changed)

    # --- workers ----------------------------------------------------------------------------

    def start_worker(self, host: str = "", zone: str = "") -> BaseProcess:
        """Another worker process; of another host and zone, where they are given."""
        driver = self.settings.driver
        settings = msgspec.structs.replace(
            self.settings,
            host=host or self.settings.host,
            driver=msgspec.structs.replace(
                driver, storage_availability_zone=zone or driver.storage_availability_zone
            ),
        )
        process = _forks.Process(target=_work, args=(settings,), daemon=True)
        process.start()
        self._workers.append(process)
        return process

    def writable(self) -> bool:
        """Whether nobody holds the database's write lock (SQLite)."""
        if not self.database.is_sqlite:
            return True
        with closing(sqlite3.connect(self.settings.database_url[10:], timeout=2)) as connection:
            try:
                connection.execute("BEGIN IMMEDIATE").close()
            except sqlite3.OperationalError:
                return False
            return True

    def stop_workers(self) -> None:
        """End the workers, the frozen ones too."""
        for process in self._workers:
            if process.pid is not None and process.is_alive():
                os.kill(process.pid, signal.SIGCONT)
                process.kill()
            process.join()
        self._workers.clear()

    def close(self) -> None:
        """End all that runs."""
        self.stop_workers()
        self.cloud.close()
        self.database.close()

    # --- the API ----------------------------------------------------------------------------

    def call(self, method: str, path: str, body: Any = None, version: str = "2.51") -> Any:
        """One request; its JSON. An error answer fails the test."""
        answer = self._answer(method, path, body, version)
        assert answer.status_code < 400, f"{method} {path}: {answer.status_code} {answer.text}"
        return answer.json if answer.content else None

    def delete(self, share_id: str) -> None:
        """Delete a share. One in error can't be deleted while it is tried again."""

        def is_deleted() -> bool:
            answer = self._answer("DELETE", f"/shares/{share_id}")
            return bool(answer.status_code < HTTPStatus.BAD_REQUEST)

        self.until(is_deleted, f"the deletion of share {share_id}")

    def _answer(self, method: str, path: str, body: Any = None, version: str = "2.51") -> Any:
        headers = {"X-Auth-Token": self._token, "X-OpenStack-Manila-API-Version": version}
        return self._http.simulate_request(method, f"/v2{path}", json=body, headers=headers)

    def use_token(self, token: str) -> None:
        """Make all further requests with another token."""
        self._token = token

    def is_refused(self) -> bool:
        """Whether the API does not accept the token."""
        answer = self._http.simulate_get("/v2/shares", headers={"X-Auth-Token": self._token})
        return answer.status_code == HTTPStatus.UNAUTHORIZED

    def network(self) -> str:
        """The share network's id."""
        return self._network_id or str(
            self.call("GET", "/share-networks")["share_networks"][0]["id"]
        )

    def project(self) -> str:
        """The project's id."""
        with self.database.read() as connection:
            return str(projects.find(connection, bootstrap.PROJECT)["id"])

    def users_subnet(self) -> str:
        """The cloud's id of the share network's subnet, where it is the user's own."""
        [subnet] = self.call("GET", f"/share-networks/{self.network()}")["share_network"][
            "share_network_subnets"
        ]
        return str(subnet["neutron_subnet_id"])

    def _users_network(self) -> str:
        """A share network on a network of the user's own, whose gateway is the user's router."""
        user = MemoryCloud("user", path=self.settings.state_dir / "memory-cloud.sqlite")
        [subnet] = user.networks.create_network("user/1", "10.0.0.0/24").subnets
        user.add_router(subnet.id)
        user.close()
        wish = {"neutron_net_id": subnet.network_id, "neutron_subnet_id": subnet.id}
        made = self.call("POST", "/share-networks", {"share_network": wish})
        return str(made["share_network"]["id"])

    def create(self, **more: Any) -> str:
        """Ask for a share, at a ``version`` of the API; its id."""
        version = more.pop("version", "2.51")
        wish = {"share_proto": "NFS", "size": 1, **more}
        if "share_network_id" not in wish:
            wish["share_network_id"] = self.network()
        return str(self.call("POST", "/shares", {"share": wish}, version)["share"]["id"])

    def served(self) -> str:
        """A share that the client has written ``precious`` to, in the file ``data``; its id."""
        share_id = self.create()
        self.settled(share_id)
        self.allow(share_id)
        self.settled(share_id)
        self.mount(share_id).write("data", b"precious")
        return share_id

    def share(self, share_id: str) -> dict[str, Any]:
        """A share as its user sees it."""
        seen: dict[str, Any] = self.call("GET", f"/shares/{share_id}")["share"]
        return seen

    def act(self, share_id: str, **action: Any) -> Any:
        """An action on a share."""
        return self.call("POST", f"/shares/{share_id}/action", action)

    def allow(self, share_id: str, to: str = CLIENT, level: str = "rw") -> str:
        """Ask for an access rule; its id."""
        rule = {"access_type": "ip", "access_to": to, "access_level": level}
        return str(self.act(share_id, allow_access=rule)["access"]["id"])

    def rules(self, share_id: str) -> dict[str, str]:
        """State of each access rule by whom it lets in."""
        listed = self.call("GET", f"/share-access-rules?share_id={share_id}")["access_list"]
        return {rule["access_to"]: rule["state"] for rule in listed}

    def snapshot(self, share_id: str) -> str:
        """Ask for a snapshot; its id."""
        wish = {"snapshot": {"share_id": share_id}}
        return str(self.call("POST", "/snapshots", wish)["snapshot"]["id"])

    def export(self, share_id: str) -> str:
        """Where the share is mounted from."""
        found = self.call("GET", f"/shares/{share_id}/export_locations")["export_locations"]
        return str(next(each["path"] for each in found if not each["is_admin_only"]))

    def mount(self, share_id: str, address: str = CLIENT) -> Any:
        """The share as a client at ``address`` has it."""
        return self.cloud.client(address).mount(self.export(share_id))

    # --- waiting ----------------------------------------------------------------------------

    def settled(self, share_id: str, seconds: float = 60) -> dict[str, Any]:
        """The share when it no longer changes."""
        share: dict[str, Any] = self.until(
            lambda: self._if(
                self.share(share_id),
                lambda share: (
                    share["status"] in ("available", "error", "extending_error")
                    and share["access_rules_status"] != "syncing"
                ),
            ),
            f"share {share_id} to settle",
            seconds,
        )
        return share

    def until(self, look: Callable[[], Any], what: str, seconds: float = 60) -> Any:
        """Wait, and say on failure what the API shows of the deployment."""
        try:
            return wait(what, look, seconds)
        except NotInTime as error:
            raise NotInTime(f"{error}: {self._state()}") from error

    def gone(self, collection: str, seconds: float = 60) -> None:
        """Wait until nothing of a kind is left, e.g. ``shares`` or ``share-servers``."""
        key = collection.replace("-", "_")
        self.until(lambda: not self.call("GET", f"/{collection}")[key], f"no {collection}", seconds)

    def _state(self) -> str:
        shares = self.call("GET", "/shares/detail")["shares"]
        messages = self.call("GET", "/messages")["messages"]
        return f"{[s['status'] for s in shares]} {[m['user_message'] for m in messages]}"

    @staticmethod
    def _if(seen: Any, good: Callable[[Any], bool]) -> Any:
        return seen if good(seen) else None

    # --- the end ----------------------------------------------------------------------------

    def empty(self) -> None:
        """Delete all that a user has, and see that the cloud is empty."""
        for snapshot in self.call("GET", "/snapshots")["snapshots"]:
            self.call("DELETE", f"/snapshots/{snapshot['id']}")
        self.gone("snapshots")
        for share in self.call("GET", "/shares")["shares"]:
            self.delete(share["id"])
        self.gone("shares")
        for network in self.call("GET", "/share-networks")["share_networks"]:
            self.call("DELETE", f"/share-networks/{network['id']}")
        self.gone("share-servers")
        self.until(lambda: not self.cloud.leaks(), "an empty cloud")


def _work(settings: Settings) -> None:
    from atoll.cli import worker

    log.configure("error", "json")
    worker.run(settings)
