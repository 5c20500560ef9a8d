"""Settings: one TOML file, checked when a program starts.

The file is ``/etc/atoll/atoll.toml``, or what ``--config`` or ``ATOLL_CONFIG`` names. Every option
can be overridden by an environment variable, ``ATOLL_<SECTION>__<OPTION>``. Options mean what the
options of the same name mean in Manila; where ours differ, they have other names.
"""

from __future__ import annotations

import os
import socket
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from atoll.errors import ConfigurationError

DEFAULT_FILE = Path("/etc/atoll/atoll.toml")

Seconds = Annotated[float, Field(gt=0)]
GiB = Annotated[int, Field(gt=0)]
Limit = Annotated[int, Field(ge=-1)]


class Section(BaseModel):
    """A table of the file; unknown options are errors, so that a typo is not a silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Api(Section):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Field(ge=0, le=65535)] = 8786
    """Port that the API listens on."""
    threads: Annotated[int, Field(gt=0)] = 8
    """Requests that one process answers at once."""
    processes: Annotated[int, Field(gt=0)] = 1
    """Processes that answer; each counts its own ``/metrics``."""
    auth_strategy: Literal["token", "none"] = "token"
    """``token``: bearer tokens of our own; ``none``: everybody on loopback is administrator."""
    public_url: str = ""
    """What links show, where a proxy stands in front; empty takes it from the request."""
    osapi_max_limit: Annotated[int, Field(gt=0)] = 1000
    """Most entries in one page of a list."""
    max_request_bytes: Annotated[int, Field(gt=0)] = 112 * 1024
    """Largest request body that is read."""
    policy_file: Path | None = None
    """oslo.policy overrides (YAML)."""


class DatabaseSettings(Section):
    """Where the rows are."""

    url: str = ""
    """``postgresql+psycopg://…``; empty means SQLite in the state directory."""


class Worker(Section):
    """The process that does the work."""

    threads: Annotated[int, Field(gt=0)] = 32
    """Operations that one worker runs at once."""
    lease: Seconds = 30
    """A dead worker's operations are taken over after this many seconds."""
    reconcile_interval: Seconds = 60
    """Seconds between two passes that compare what should be with what is."""
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where the worker serves /metrics on loopback; 0 means not at all."""


class Driver(Section):
    """The generic driver and its service instances."""

    share_backend_name: str = "generic"
    """The back end's name in pools and share hosts."""
    enabled_share_protocols: tuple[Literal["NFS", "CIFS"], ...] = ("NFS", "CIFS")
    """Protocols that shares may have."""
    default_share_type: str = "default"
    """Share type of shares that name none; empty means that they must."""
    storage_availability_zone: str = "nova"
    """Availability zone of this back end, and of shares that name none."""
    share_mount_path: str = "/shares"
    """Directory in service instances that shares are mounted below; part of export locations."""
    share_volume_fstype: Literal["ext4", "xfs"] = "ext4"
    """File system of shares that choose none."""
    volume_name_template: str = "manila-share-%s"
    """Not used yet: the clouds there are know volumes by id and owner."""
    volume_snapshot_name_template: str = "manila-snapshot-%s"
    """Not used yet, for the same reason."""
    service_instance_user: str = "atoll"
    """User that Atoll logs in to service instances as."""
    service_instance_name_template: str = "atoll-%s"
    """Name and host name of a service instance; ``%s`` is the share server's id."""
    max_time_to_build_instance: Seconds = 300
    """Seconds until a service instance that does not answer is removed and made anew."""
    max_time_to_attach: Seconds = 120
    """Not used yet: the cloud ``local`` has limits of its own."""
    max_time_to_create_volume: Seconds = 180
    """Not used yet, for the same reason."""
    max_time_to_extend_volume: Seconds = 180
    """Not used yet, for the same reason."""
    max_shares_per_share_server: Annotated[int, Field(gt=0)] = 60
    """When a service instance has so many shares, the next share gets another instance."""
    freeze_seconds: Seconds = 30
    """A frozen file system thaws by itself after this many seconds."""
    unused_share_server_cleanup_interval: Seconds = 600
    """A share server without shares is removed after this many seconds."""
    warm_service_instances: Annotated[int, Field(ge=0)] = 0
    """Not used yet: instances that wait, booted, for the next share network."""
    replace_dead_after: Seconds = 60
    """An instance that has not answered for this many seconds is rebooted, then replaced."""


class Local(Section):
    """The cloud ``local``: this machine."""

    libvirt_uri: str = ""
    """Empty: the machine's libvirt daemon, or one of our own where none runs."""
    service_image: Path | None = None
    """Empty: what ``atoll image build`` made."""
    image_cache: Path = Path("/var/cache/atoll/images")
    """Where ``atoll image build`` keeps images."""
    service_network_cidr: str = "10.254.0.0/24"
    """Service network; where this machine uses it already, the next free range of that size."""
    share_network_pool: str = "10.88.0.0/16"
    """Range that share networks are cut from."""
    share_network_prefix: Annotated[int, Field(ge=8, le=30)] = 24
    """Prefix length of each share network."""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where a test guest ran with it, else TCG (emulation)."""
    vcpus: Annotated[int, Field(gt=0)] = 1
    """Virtual CPUs of a service instance."""
    memory_mib: Annotated[int, Field(ge=256)] = 512
    """Memory of a service instance, MiB."""
    reserved_gib: Annotated[float, Field(ge=0)] = 2
    """GiB that stay free on the host's disk."""
    max_over_subscription_ratio: Annotated[float, Field(ge=1)] = 20
    """Volumes may be promised so many times the size of the host's disk."""


class Memory(Section):
    """The simulated cloud ``memory``."""

    boot_seconds: Annotated[float, Field(ge=0)] = 0
    """Seconds that a simulated instance takes to boot."""
    capacity_gib: GiB = 1_000_000
    """Size of the simulated storage."""


class Quota(Section):
    """Default limits of a project; -1 means none."""

    shares: Limit = 50
    """Shares of a project."""
    gigabytes: Limit = 1000
    """GiB of all shares of a project."""
    snapshots: Limit = 50
    """Snapshots of a project."""
    snapshot_gigabytes: Limit = 1000
    """GiB of all snapshots of a project."""
    share_networks: Limit = 10
    """Share networks of a project."""
    per_share_gigabytes: Limit = -1
    """GiB of one share."""


class Log(Section):
    """Structured logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto``: coloured lines on a terminal, else JSON."""


class Settings(BaseSettings):
    """Everything that an operator can choose."""

    model_config = SettingsConfigDict(
        env_prefix="ATOLL_", env_nested_delimiter="__", extra="forbid", frozen=True
    )

    state_dir: Path = Path("/var/lib/atoll")
    """Everything that Atoll writes is below this directory."""
    host: str = Field(default_factory=socket.gethostname)
    """This controller's name in services and share hosts."""
    cloud: Literal["local", "memory"] = "local"
    """Where instances, volumes and networks come from: this machine, or a simulation."""
    api: Api = Api()
    database: DatabaseSettings = DatabaseSettings()
    worker: Worker = Worker()
    driver: Driver = Driver()
    local: Local = Local()
    memory: Memory = Memory()
    quota: Quota = Quota()
    log: Log = Log()

    @cached_property
    def database_url(self) -> str:
        """Where the rows are; SQLite in the state directory unless configured."""
        return self.database.url or f"sqlite:///{self.state_dir / 'atoll.sqlite'}"

    def make_state_dir(self) -> None:
        """Make the state directory: ours to read, for QEMU's own user only to pass through."""
        self.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)

    @property
    def backend_host(self) -> str:
        """``host`` of shares and share servers, ``<controller>@<cloud>``."""
        return f"{self.host}@{self.cloud}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Command line, then environment, then the file."""
        toml = TomlConfigSettingsSource(settings_cls, toml_file=_file_in_use)
        return init_settings, env_settings, toml


_file_in_use: Path | None = None


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings. Raises ``ConfigurationError`` that lists every mistake at once."""
    global _file_in_use
    chosen = file or Path(os.environ.get("ATOLL_CONFIG", DEFAULT_FILE))
    if file is not None and not file.exists():
        raise ConfigurationError(f"The configuration file {file} does not exist.")
    _file_in_use = chosen if chosen.exists() else None
    try:
        return Settings(**overrides)
    except ValidationError as error:
        mistakes = "; ".join(
            f"{'.'.join(map(str, mistake['loc'])) or 'file'}: {mistake['msg']}"
            for mistake in error.errors()
        )
        raise ConfigurationError(f"In {chosen}: {mistakes}.") from error
    except ValueError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
