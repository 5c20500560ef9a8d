"""``atoll serve``: prepare everything, then become the supervisor of the API and the worker."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from rich.console import Console

from atoll.cli import bootstrap, process
from atoll.cli.image import ensure_image
from atoll.config import Settings
from atoll.db.database import Database

READY = """
Atoll is ready on {url}

Your first share:
  export OS_AUTH_TYPE=admin_token OS_ENDPOINT={url}/v2 OS_TOKEN=$(cat {token_file})
  openstack share create --name first --share-network default NFS 1
  openstack share access create first ip 0.0.0.0/0 && openstack share export location list first

The openstack command: pip install python-openstackclient python-manilaclient
"""

OPEN = """
Atoll is ready on {url}, WITHOUT AUTHENTICATION: whoever reaches this port is the administrator.
"""


def serve(settings: Settings, config_file: Path | None, console: Console) -> None:
    """Does not return: the process becomes the supervisor."""
    settings.make_state_dir()  # before the database, which would make it ours alone
    if settings.cloud == "local":
        ensure_image(settings, console)
    with console.status("Preparing the database"):
        prepared = bootstrap.prepare(settings, Database(settings.database_url))
    url = settings.api.public_url or f"http://{settings.api.host}:{settings.api.port}"
    text = READY if settings.api.auth_strategy == "token" else OPEN
    ready_file = settings.state_dir / "ready.txt"
    ready_file.write_text(text.format(url=url, token_file=prepared.token_file))
    supervisor = [*process.PYTHON, "atoll.cli.supervise", str(ready_file)]
    supervisor += [settings.api.host, str(settings.api.port), *process.command(config_file)]
    console.print("Starting the API and the worker")
    sys.stdout.flush()
    os.execve(sys.executable, supervisor, process.environment())  # noqa: S606 - no shell
