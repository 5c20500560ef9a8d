"""Running the machine's programs (qemu-img, ip, nft, …): argument lists only, with a deadline."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence

from atoll.errors import CloudError, CloudUnavailable, OutOfCapacity

NO_ROOM = ("No space left on device", "Disk quota exceeded")


def run(argv: Sequence[str], *, stdin: str | None = None, seconds: float = 60) -> str:
    """Run a program and return what it printed.

    Raises ``OutOfCapacity`` if the disk is full, ``CloudUnavailable`` after the deadline, and
    ``CloudError`` with the program's own words if it failed or is not installed.
    """
    name = argv[0]
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=seconds, check=False
        )
    except FileNotFoundError as error:
        raise CloudError(
            f"The program {name} is not installed.", hint="Run 'atoll doctor'."
        ) from error
    except subprocess.TimeoutExpired as error:
        raise CloudUnavailable(f"{name} did not finish within {seconds:.0f} s.") from error
    if done.returncode == 0:
        return done.stdout
    words = (done.stderr or done.stdout).strip()[-500:]
    if any(sign in words for sign in NO_ROOM):
        raise OutOfCapacity(f"The host's disk is full ({name}: {words}).")
    raise CloudError(f"{name} failed: {words}")
