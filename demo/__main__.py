"""``python -m demo [local|openstack]``: runs the story, and checks that nothing is left."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from keystoneauth1.exceptions import ClientException
from openstack.exceptions import SDKException
from rich.console import Console
from rich.markup import escape

from atoll import log
from atoll.cli.progress import make_console
from atoll.errors import AtollError
from harness.place import Place
from harness.steps import CheckFailed, Steps, check
from harness.story import Story, connect
from harness.wait import NotInTime

CLOUDS = ("local", "openstack")
FAILURES = (
    CheckFailed,
    NotInTime,
    SDKException,
    ClientException,
    AtollError,
    RuntimeError,
    subprocess.SubprocessError,
)
FOR_REAL = {
    "local": """
To run a real deployment:  uv run atoll serve
It keeps its state in /var/lib/atoll, and prints the commands that create your first share.
""",
    "openstack": """
To run a real deployment: docs/howto/openstack.md
The service image remains in Glance, with the tag atoll-service-image.
""",
}


def main(cloud: str) -> int:
    """Run the demo; return 0 if all checks succeed."""
    log.configure("warning")
    console = make_console()
    steps = Steps(console)
    # This directory has the disks, so it is not below /tmp, which may be in memory.
    state = Path(tempfile.mkdtemp(prefix="atoll-demo-", dir="/var/tmp"))
    state.chmod(0o711)  # QEMU runs as its own user
    try:
        place = _place(cloud, state, console)
    except FAILURES as error:
        console.print(
            f"[red]The demo can't start:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        shutil.rmtree(state)
        return 1
    try:
        place.prepare(steps)
        Story(connect(place.service.endpoint, place.service.token), steps, place).run()
        with steps.step("nothing is left") as step:
            left = place.stop()
            check(not left, f"left: {'; '.join(left)}")
            step.detail = "no VM, disk, network, process or file"
    except FAILURES as error:
        console.print(
            f"\n[red]The demo failed:[/] {escape(str(error))}", highlight=False, soft_wrap=True
        )
        console.print(f"Its log is kept: {place.service.log}", highlight=False, soft_wrap=True)
        return 1
    finally:
        place.stop()
    shutil.rmtree(state)
    console.print(steps.table())
    console.print(FOR_REAL[cloud], highlight=False, soft_wrap=True)
    return 0


def _place(cloud: str, state: Path, console: Console) -> Place:
    if cloud == "openstack":
        if not {"OS_CLOUD", "OS_AUTH_URL"} & set(os.environ):
            raise CheckFailed("Name the cloud: OS_CLOUD, an entry of clouds.yaml.")
        from harness.on_openstack import OnOpenStack

        return OnOpenStack(state, console)
    from harness.this_machine import ThisMachine

    return ThisMachine(state, console)


if __name__ == "__main__":
    chosen = sys.argv[1] if len(sys.argv) > 1 else "local"
    if chosen not in CLOUDS:
        sys.exit(f"CLOUD is one of {', '.join(CLOUDS)}, not {chosen!r}.")
    sys.exit(main(chosen))
