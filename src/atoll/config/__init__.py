"""Settings: one TOML file, checked when a program starts.

The file is ``/etc/atoll/atoll.toml``, or what ``--config`` or ``ATOLL_CONFIG`` names. Every option
can be overridden by an environment variable, ``ATOLL_<SECTION>__<OPTION>``. An option with the name
of a Manila option has the same meaning; options with another meaning have other names.
"""

from atoll.config.api import Api, Keystone
from atoll.config.clouds import Local, Memory
from atoll.config.driver import Driver
from atoll.config.file import DEFAULT_FILE, load
from atoll.config.openstack import OpenStack
from atoll.config.section import Cidr, Section, SshHost
from atoll.config.service import DatabaseSettings, Log, Quota, Worker
from atoll.config.settings import Settings

__all__ = [
    "DEFAULT_FILE",
    "Api",
    "Cidr",
    "DatabaseSettings",
    "Driver",
    "Keystone",
    "Local",
    "Log",
    "Memory",
    "OpenStack",
    "Quota",
    "Section",
    "Settings",
    "SshHost",
    "Worker",
    "load",
]
