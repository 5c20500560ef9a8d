"""``atoll serve``: prepares everything, then becomes the supervisor of the API and the worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

from atoll.api.auth import service_user
from atoll.cli import bootstrap, process
from atoll.cli.image import ensure_image
from atoll.cli.progress import working
from atoll.config import Settings
from atoll.db.database import Database

READY = """
Atoll is ready on {url}

Your first share:
  export OS_AUTH_TYPE=admin_token OS_ENDPOINT={url}/v2 OS_TOKEN=$(cat {token_file})
{first_share}

The openstack command: pip install python-openstackclient python-manilaclient
"""

OWN_NETWORK = """\
  openstack share network create --name default --neutron-net-id ID --neutron-subnet-id ID
"""

ON_A_NETWORK = """\
  openstack share create --name first --share-network default --wait NFS 1
  RANGE=$(openstack share network show default -f value -c share_network_subnets | {only_range})
  openstack share access create first ip $RANGE && openstack share export location list first"""
"""These commands give access only to clients in the share network."""

ONLY_RANGE = "grep -oE '[0-9.]+/[0-9]+'"

ON_THE_COMMON_SERVER = """\
  openstack share create --name first --wait NFS 1
  openstack share access create first ip CLIENT && openstack share export location list first

CLIENT is the address of the machine that will mount the share."""

KEYSTONE = """
Atoll is ready on {url}; Keystone at {keystone} authenticates its users.

To let clients find it, run once with an administrator's credentials: atoll keystone register
"""

OPEN = """
Atoll is ready on {url}, WITHOUT AUTHENTICATION: all users of this machine are administrators.
"""


def serve(settings: Settings, config_file: Path | None, console: Console) -> None:
    """Prepare everything, then replace this process by the supervisor."""
    if settings.api.auth_strategy == "keystone":
        service_user.auth_url(settings)  # errors are reported now, not by a process that dies later
        service_user.password(settings)
    settings.make_state_dir()  # before the database, which would make it private
    with working(console, "Preparing the database"):  # this refuses a foreign database
        prepared = bootstrap.prepare(settings, Database.of(settings))
    if settings.cloud == "local":
        ensure_image(settings, console)
    url = settings.api.public_url or f"http://{settings.api.host}:{settings.api.port}"
    text = {"token": READY, "keystone": KEYSTONE, "none": OPEN}[settings.api.auth_strategy]
    facts = {
        "token_file": prepared.token_file,
        "keystone": settings.keystone.auth_url,
        "first_share": _first_share(settings),
    }
    ready_file = settings.state_dir / "ready.txt"
    ready_file.write_text(text.format(url=url, **facts))
    supervisor = [*process.PYTHON, "atoll.cli.supervise", str(ready_file)]
    supervisor += [settings.api.host, str(settings.api.port), *process.command(config_file)]
    console.print("Starting the API and the worker")
    sys.stdout.flush()
    os.execve(sys.executable, supervisor, process.environment())  # noqa: S606 - no shell


def _first_share(settings: Settings) -> str:
    """The commands that create a share and give access only to its share network."""
    if not settings.driver.driver_handles_share_servers:
        return ON_THE_COMMON_SERVER
    own = OWN_NETWORK if settings.cloud == "openstack" else ""
    return own + ON_A_NETWORK.format(only_range=ONLY_RANGE)
