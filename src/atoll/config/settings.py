"""All settings."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import Literal

import msgspec

from atoll.config.api import Api, Keystone
from atoll.config.clouds import Local, Memory
from atoll.config.driver import Driver
from atoll.config.openstack import OpenStack
from atoll.config.section import Section
from atoll.config.service import DatabaseSettings, Log, Quota, Worker


class Settings(Section, frozen=True):
    """All settings that an operator can choose."""

    state_dir: Path = Path("/var/lib/atoll")
    """Directory for all that Atoll writes."""
    host: str = msgspec.field(default_factory=socket.gethostname)
    """Name of this controller in services and in the hosts of shares."""
    cloud: Literal["local", "openstack", "memory"] = "local"
    """Where instances, volumes and networks are made: on this machine, OpenStack, a simulation."""
    api: Api = Api()
    keystone: Keystone = Keystone()
    database: DatabaseSettings = DatabaseSettings()
    worker: Worker = Worker()
    driver: Driver = Driver()
    local: Local = Local()
    openstack: OpenStack = OpenStack()
    memory: Memory = Memory()
    quota: Quota = Quota()
    log: Log = Log()

    @property
    def database_url(self) -> str:
        """URL of the database; SQLite in the state directory unless configured."""
        return self.database.url or f"sqlite:///{self.state_dir / 'atoll.sqlite'}"

    @property
    def max_over_subscription_ratio(self) -> float:
        """The largest total size of volumes, as a multiple of a thin pool's size."""
        section = self.openstack if self.cloud == "openstack" else self.local
        return section.max_over_subscription_ratio

    @property
    def secret_key(self) -> Path:
        """The file of the key that encrypts secrets in the database."""
        return self.state_dir / "secret.key"

    @property
    def witness(self) -> Path:
        """The file by which a worker notices that the database is older than it was."""
        return self.state_dir / "witness"

    def make_state_dir(self) -> None:
        """Make the state directory, which QEMU's user may pass through but not read."""
        self.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)

    @property
    def backend_host(self) -> str:
        """``host`` of shares and share servers, ``<controller>@<cloud>``."""
        return f"{self.host}@{self.cloud}"
