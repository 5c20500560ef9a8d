"""Settings: one TOML file, checked when a program starts.

The file is ``/etc/atoll/atoll.toml``, or what ``--config`` or ``ATOLL_CONFIG`` names. Every option
can be overridden by an environment variable, ``ATOLL_<SECTION>__<OPTION>``. Options mean what the
options of the same name mean in Manila; where ours differ, they have other names.
"""

from __future__ import annotations

import os
import socket
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from atoll.errors import ConfigurationError

DEFAULT_FILE = Path("/etc/atoll/atoll.toml")

Seconds = Annotated[float, Meta(gt=0)]
GiB = Annotated[int, Meta(gt=0)]
Limit = Annotated[int, Meta(ge=-1)]


class Section(msgspec.Struct, frozen=True, kw_only=True):
    """A table of the file; unknown options are errors, so that a typo is not a silence."""


class Api(Section, frozen=True):
    """The HTTP service."""

    host: str = "127.0.0.1"
    """Address that the API listens on."""
    port: Annotated[int, Meta(ge=0, le=65535)] = 8786
    """Port that the API listens on."""
    threads: Annotated[int, Meta(gt=0)] = 8
    """Requests that one process answers at once."""
    processes: Annotated[int, Meta(gt=0)] = 1
    """Processes that answer; each counts its own ``/metrics``."""
    auth_strategy: Literal["token", "keystone", "none"] = "token"
    """``token``: bearer tokens of our own; ``keystone``: OpenStack's, see table ``[keystone]``;
    ``none``: everybody on loopback is administrator."""
    public_url: str = ""
    """What links show, where a proxy stands in front; empty takes it from the request."""
    osapi_max_limit: Annotated[int, Meta(gt=0)] = 1000
    """Most entries in one page of a list."""
    max_request_bytes: Annotated[int, Meta(gt=0)] = 112 * 1024
    """Largest request body that is read."""
    policy_file: Path | None = None
    """oslo.policy overrides (YAML)."""


class Keystone(Section, frozen=True):
    """Keystone, in front of the API (``auth_strategy = "keystone"``), and our user there.

    The password is the first of ``password`` (better set as the environment variable
    ``ATOLL_KEYSTONE__PASSWORD``), ``password_file``, and ``keystone.password`` in the state
    directory.
    """

    auth_url: str = ""
    """Identity API as this machine reaches it, like ``http://controller:5000``."""
    www_authenticate_uri: str = ""
    """Identity API as clients reach it; empty: the same."""
    username: str = "atoll"
    """User that asks Keystone about tokens; it needs the role ``service`` in its project."""
    password: str = ""
    """That user's password."""
    password_file: Path | None = None
    """File whose first line is the password."""
    user_domain_name: str = "Default"
    """Domain of the user."""
    project_name: str = "service"
    """Project that the user is in."""
    project_domain_name: str = "Default"
    """Domain of that project."""
    region_name: str = ""
    """Region of this deployment; empty: the only one that there is."""
    interface: Literal["internal", "public", "admin"] = "internal"
    """Which of the Identity API's endpoints is asked."""
    cafile: Path | None = None
    """Certificate authorities that Keystone's certificate is checked by; empty: the system's."""
    http_connect_timeout: Seconds = 10
    """Seconds that Keystone may take for an answer."""
    memcached_servers: tuple[str, ...] = ()
    """``host:port`` of memcached servers where all API processes keep what Keystone has said of a
    token; without, each process asks again after five seconds."""
    token_cache_time: Annotated[int, Meta(gt=0)] = 300
    """Seconds that it is kept in memcached: so long a revoked token may go on working."""
    service_token_roles: tuple[str, ...] = ("service",)
    """Roles by which another service's token, sent along with a user's, is believed."""

    def __repr__(self) -> str:
        """Without the password."""
        return f"Keystone(auth_url={self.auth_url!r}, username={self.username!r}, …)"


class DatabaseSettings(Section, frozen=True):
    """Where the rows are."""

    url: str = ""
    """``postgresql+psycopg://…``; empty means SQLite in the state directory."""


class Worker(Section, frozen=True):
    """The process that does the work."""

    threads: Annotated[int, Meta(gt=0)] = 32
    """Operations that one worker runs at once."""
    lease: Seconds = 30
    """A dead worker's operations are taken over after this many seconds."""
    reconcile_interval: Seconds = 60
    """Seconds between two passes that compare what should be with what is."""
    metrics_port: Annotated[int, Meta(ge=0, le=65535)] = 0
    """Where the worker serves /metrics on loopback; 0 means not at all."""


class Driver(Section, frozen=True):
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
    service_instance_user: str = "atoll"
    """User that Atoll logs in to service instances as."""
    service_instance_name_template: str = "atoll-%s"
    """Name and host name of a service instance; ``%s`` is the share server's id."""
    max_time_to_build_instance: Seconds = 300
    """Seconds until a service instance that does not answer is removed and made anew."""
    max_shares_per_share_server: Annotated[int, Meta(gt=0)] = 60
    """When a service instance has so many shares, the next share gets another instance."""
    freeze_seconds: Seconds = 30
    """A frozen file system thaws by itself after this many seconds."""
    unused_share_server_cleanup_interval: Seconds = 600
    """A share server without shares is removed after this many seconds."""
    warm_service_instances: Annotated[int, Meta(ge=0)] = 0
    """How many instances wait, booted, for the next share network."""
    replace_dead_after: Seconds = 60
    """An instance that has not answered for this many seconds is rebooted, then replaced."""
    driver_handles_share_servers: bool = True
    """False: no share servers; all shares are on one instance that the administrator has made."""
    service_instance_name_or_id: str = ""
    """That instance."""
    service_net_name_or_ip: str = ""
    """Its address for Atoll, or the network, by name or id, that it has that address in."""
    tenant_net_name_or_ip: str = ""
    """The same for clients: where they mount from."""
    path_to_private_key: Path | None = None
    """File with the private SSH key that opens that instance to ``service_instance_user``."""
    service_instance_host_key: str = ""
    """The public SSH host key of that instance, or the path of a file with it."""
    connect_share_server_to_tenant_network: bool = True
    """True: an interface in the user's own subnet; false: through the gateway of that subnet."""
    service_network_cidr: str = "10.254.0.0/16"
    """Range that subnets of the service network are cut from; those that exist keep theirs."""
    service_network_division_mask: Annotated[int, Meta(ge=8, le=125)] = 28
    """Prefix length of a subnet of the service network."""
    admin_network_id: str = ""
    """A network of the administrator's in which Atoll reaches instances; empty: service network."""
    admin_subnet_id: str = ""
    """Which subnet of that network; empty: any."""


class Local(Section, frozen=True):
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
    share_network_prefix: Annotated[int, Meta(ge=8, le=29)] = 24
    """Prefix length of each share network."""
    acceleration: Literal["auto", "kvm", "tcg"] = "auto"
    """``auto`` takes KVM where a test guest ran with it, else TCG (emulation)."""
    vcpus: Annotated[int, Meta(gt=0)] = 1
    """Virtual CPUs of a service instance."""
    memory_mib: Annotated[int, Meta(ge=256)] = 512
    """Memory of a service instance, MiB."""
    reserved_gib: Annotated[float, Meta(ge=0)] = 2
    """GiB that stay free on the host's disk."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """Volumes may be promised so many times the size of the host's disk."""


class Memory(Section, frozen=True):
    """The simulated cloud ``memory``."""

    boot_seconds: Annotated[float, Meta(ge=0)] = 0
    """Seconds that a simulated instance takes to boot."""
    capacity_gib: GiB = 1_000_000
    """Size of the simulated storage."""


class OpenStack(Section, frozen=True):
    """The cloud ``openstack``: Nova, Cinder, Neutron and Glance."""

    cloud: str = ""
    """Entry of clouds.yaml; empty takes what ``OS_CLOUD`` or the other ``OS_…`` variables say."""
    service_image_name: str = "atoll-service-image"
    """Tag that ``atoll image upload`` gives the service image, or an image's id."""
    service_instance_flavor_id: str = "100"
    """Flavor of service instances."""
    cinder_volume_type: str = ""
    """Volume type of shares; empty: the cloud's default."""
    availability_zone: str = ""
    """Where instances and volumes are made when nothing else says it."""
    service_network_name: str = "atoll_service_network"
    """Name of the service network."""
    service_network_host: str = ""
    """This machine's name among Neutron's agents; empty: its host name."""
    service_network_interface: Literal["linuxbridge", "openvswitch", "none"] = "none"
    """How this machine is plugged into that network; ``none``: it is routed, or by a bastion."""
    ovs_integration_bridge: str = "br-int"
    """Bridge that ``openvswitch`` plugs into."""
    max_time_to_create_volume: Seconds = 180
    """Seconds for a volume or a snapshot to be made, or deleted."""
    max_time_to_extend_volume: Seconds = 180
    """Seconds for a volume to grow."""
    max_time_to_attach: Seconds = 120
    """Seconds for a volume to be attached or detached."""
    max_over_subscription_ratio: Annotated[float, Meta(ge=1)] = 20
    """A pool that provisions thinly may promise so many times its size."""
    ssh_proxy_jump: str = ""
    """``[user@]host[:port]`` of a bastion in front of the service network."""


class Quota(Section, frozen=True):
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

    def limits(self) -> dict[str, int]:
        """All limits by name."""
        return msgspec.structs.asdict(self)


class Log(Section, frozen=True):
    """Structured logs, on standard error."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """Least severe messages that are written."""
    format: Literal["auto", "json", "console"] = "auto"
    """``auto``: coloured lines on a terminal, else JSON."""


class Settings(Section, frozen=True):
    """Everything that an operator can choose."""

    state_dir: Path = Path("/var/lib/atoll")
    """Everything that Atoll writes is below this directory."""
    host: str = msgspec.field(default_factory=socket.gethostname)
    """This controller's name in services and share hosts."""
    cloud: Literal["local", "openstack", "memory"] = "local"
    """Where instances, volumes and networks come from: this machine, OpenStack, a simulation."""
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
        """Where the rows are; SQLite in the state directory unless configured."""
        return self.database.url or f"sqlite:///{self.state_dir / 'atoll.sqlite'}"

    @property
    def max_over_subscription_ratio(self) -> float:
        """How many times its size a thin pool of this cloud may be promised."""
        section = self.openstack if self.cloud == "openstack" else self.local
        return section.max_over_subscription_ratio

    def make_state_dir(self) -> None:
        """Make the state directory: ours to read, for QEMU's own user only to pass through."""
        self.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)

    @property
    def backend_host(self) -> str:
        """``host`` of shares and share servers, ``<controller>@<cloud>``."""
        return f"{self.host}@{self.cloud}"


def load(file: Path | None = None, **overrides: Any) -> Settings:
    """Read the settings: ``overrides``, then the environment, then the file.

    Raises ``ConfigurationError`` that lists every mistake at once.
    """
    chosen = file or Path(os.environ.get("ATOLL_CONFIG", DEFAULT_FILE))
    if file is not None and not file.exists():
        raise ConfigurationError(f"The configuration file {file} does not exist.")
    try:
        table = tomllib.loads(chosen.read_text(encoding="utf-8")) if chosen.exists() else {}
    except ValueError as error:
        raise ConfigurationError(f"{chosen} is not valid TOML: {error}.") from error
    reader = _Reader(os.environ)
    settings = reader.section(Settings, table)
    reader.report_unknown_variables()
    if reader.mistakes:
        source = chosen if chosen.exists() else "the environment"
        raise ConfigurationError(f"In {source}: {'; '.join(reader.mistakes)}.")
    return msgspec.structs.replace(settings, **overrides)


S = TypeVar("S", bound=Section)


class _Reader:
    """Turns tables and variables into sections, option by option, and collects the mistakes."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = environment
        self._variables: set[str] = set()
        self.mistakes: list[str] = []

    def section(self, kind: type[S], table: object, at: str = "") -> S:
        """What the environment and a table of the file say of one section."""
        if not isinstance(table, dict):
            self.mistakes.append(f"{at.rstrip('.')}: a table is expected")
            table = {}
        fields = {field.name: field.type for field in msgspec.structs.fields(kind)}
        self.mistakes += [f"{at}{name}: unknown option" for name in table if name not in fields]
        values: dict[str, Any] = {}
        for name, expected in fields.items():
            option = f"{at}{name}"
            variable = f"ATOLL_{option.replace('.', '__').upper()}"
            self._variables.add(variable)
            if isinstance(expected, type) and issubclass(expected, Section):
                values[name] = self.section(expected, table.get(name, {}), f"{option}.")
            elif variable in self._environment:
                self._convert(values, name, self._environment[variable], expected, variable)
            elif name in table:
                self._convert(values, name, table[name], expected, option)
        return kind(**values)

    def _convert(
        self, values: dict[str, Any], name: str, given: object, expected: Any, source: str
    ) -> None:
        """Check one option; the text of an environment variable may stand for a number or list."""
        is_text = source.startswith("ATOLL_")
        try:
            if is_text and str(given).startswith("["):
                given = msgspec.json.decode(str(given))
            values[name] = msgspec.convert(given, expected, strict=not is_text, dec_hook=_path)
        except msgspec.ValidationError as error:
            self.mistakes.append(f"{source}: {error}")
        except msgspec.DecodeError as error:
            self.mistakes.append(f"{source}: not a JSON list: {error}")

    def report_unknown_variables(self) -> None:
        """Find variables that look like options and are none."""
        for name in self._environment:
            if name.startswith("ATOLL_") and "__" in name and name not in self._variables:
                self.mistakes.append(f"{name}: unknown option")


def _path(expected: type, given: object) -> object:
    """Msgspec knows no paths."""
    if expected is Path and isinstance(given, str | Path):
        return Path(given)
    raise msgspec.ValidationError(f"Expected `{expected.__name__}`, got `{type(given).__name__}`")
