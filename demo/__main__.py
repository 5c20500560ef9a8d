"""``python -m demo``: run the story on the embedded cloud and show that nothing is left."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from openstack.exceptions import SDKException
from rich.console import Console

from atoll.cli.image import build
from atoll.config import load
from demo.client import ClientVm
from demo.leaks import Before
from demo.service import Service
from demo.steps import CheckFailed, Steps, check
from demo.story import Story, connect

FOR_REAL = """
To run it for real:  uv run atoll serve
It keeps its state in /var/lib/atoll, and prints the lines that make your first share.
"""


def main() -> int:
    """The demo; 0 when every check held."""
    console = Console()
    steps = Steps(console)
    # Not below /tmp, which may be in memory: this holds the disks.
    state = Path(tempfile.mkdtemp(prefix="atoll-demo-", dir="/var/tmp"))
    state.chmod(0o711)  # QEMU runs as a user of its own
    before = Before()
    settings = load(state_dir=state)
    service = Service(state / "service")
    clients: list[ClientVm] = []
    try:
        with steps.step("service image") as step:
            image = build(settings, console)
            step.detail = f"{image.path.stat().st_size / 2**20:.0f} MiB"
        with steps.step("service up") as step:
            service.start()
            step.detail = service.url

        def boot_client(bridge: str) -> ClientVm:
            clients.append(ClientVm(state, image.path, bridge))
            clients[-1].start()
            return clients[-1]

        Story(connect(service.endpoint, service.token), steps, boot_client).run()
        with steps.step("nothing is left") as step:
            step.detail = _nothing_left(service, before)
    except (CheckFailed, SDKException, RuntimeError, subprocess.SubprocessError) as error:
        console.print(f"\n[red]The demo failed:[/] {error}", highlight=False)
        console.print(f"Its log stays: {service.log}", highlight=False)
        return 1
    finally:
        for client in clients:
            client.stop()
        service.stop()
        service.run("purge", "--yes")
    shutil.rmtree(state)
    console.print(steps.table())
    console.print(FOR_REAL, highlight=False)
    return 0


def _nothing_left(service: Service, before: Before) -> str:
    """Stop the service, and look at the whole machine."""
    service.stop()
    left = service.run("purge", "--yes").splitlines()
    # The service network, made once for the whole deployment, is all that purge may still find.
    made = [line for line in left if "service_network" not in line]
    check(not made, f"left in the cloud: {'; '.join(made)}")
    leaks = before.leaks(service.state)
    check(not leaks, f"left on the machine: {'; '.join(leaks)}")
    return "no VM, disk, network, process or file"


if __name__ == "__main__":
    sys.exit(main())
