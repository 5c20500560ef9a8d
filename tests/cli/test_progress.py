"""What a log holds of a command that takes its time: whole lines, no control characters."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

ATOLL = Path(sys.executable).with_name("atoll")
PACKAGES = 700

MMDEBSTRAP = f"""#!/bin/sh
echo "0 upgraded, {PACKAGES} newly installed, 0 to remove and 0 not upgraded."
i=0
while [ $i -lt {PACKAGES} ]; do
    i=$((i + 1))
    echo "Get:$i http://deb.debian.org/debian bookworm/main amd64 package$i"
    echo "Unpacking package$i (1.0) ..."
    echo "Setting up package$i (1.0) ..."
done
echo "E: no space left" >&2
exit 1
"""
"""Writes what the real one writes, and fails in the end."""

LONG_STEP = """
import time
from atoll.cli import progress
from harness.steps import Steps

progress.HEARTBEAT_SECONDS = 0.25
console = progress.make_console()
steps = Steps(console)
export = "10.88.0.2:/shares/939a7f6d-82e7-4508-8b2e-b71699e641e8 " * 4
with steps.step("a long step") as step:
    time.sleep(1.1)
    step.detail = export
with steps.step("an image") as step, progress.phases(console, "Building", "image") as show:
    for part in range(1000):
        show("installing", part / 1000)
        time.sleep(0.001)
    show("checksum", 1.0)
console.print(steps.table())
"""


def calm(output: str) -> list[str]:
    """The lines of an output that has nothing for a terminal in it."""
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f]", output), output
    return output.splitlines()


@pytest.fixture
def building(tmp_path: Path) -> dict[str, str]:
    """An environment in which each package of the service image is announced, thrice."""
    program = tmp_path / "bin" / "mmdebstrap"
    program.parent.mkdir()
    program.write_text(MMDEBSTRAP)
    program.chmod(0o755)
    return {
        **os.environ,
        "PATH": f"{program.parent}:{os.environ['PATH']}",
        "ATOLL_STATE_DIR": str(tmp_path / "state"),
        "ATOLL_LOCAL__IMAGE_CACHE": str(tmp_path / "cache"),
        "COLUMNS": "40",
    }


def test_a_log_of_a_build_has_a_line_for_each_phase(building: dict[str, str]) -> None:
    argv = [str(ATOLL), "image", "build"]
    done = subprocess.run(argv, env=building, capture_output=True, text=True, check=False)
    assert "no space left" in done.stderr
    assert calm(done.stdout) == ["image: installing packages"]


def test_colours_for_a_log_are_no_reason_to_move_its_cursor(building: dict[str, str]) -> None:
    argv = [str(ATOLL), "image", "build"]
    environment = {**building, "FORCE_COLOR": "1"}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    assert calm(done.stdout) == ["image: installing packages"]


def test_on_a_terminal_there_is_a_bar(building: dict[str, str]) -> None:
    ours, theirs = pty.openpty()
    argv = [str(ATOLL), "image", "build"]
    environment = {**building, "TERM": "xterm"}
    with subprocess.Popen(argv, env=environment, stdout=theirs, stderr=subprocess.DEVNULL):
        os.close(theirs)
        shown = b""
        try:
            while part := os.read(ours, 65536):
                shown += part
        except OSError:  # the other end is closed
            pass
    os.close(ours)
    assert b"\x1b[" in shown


def test_a_long_step_says_now_and_then_that_it_goes_on() -> None:
    environment = {**os.environ, "COLUMNS": "40"}
    argv = [sys.executable, "-c", LONG_STEP]
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=True)
    lines = calm(done.stdout)
    steps = [line for line in lines if "a long step …" in line]
    assert 3 <= len(steps) <= 4
    [ended] = [line for line in lines if line.startswith("✓") and "a long step" in line]
    assert ended.count("939a7f6d-82e7-4508-8b2e-b71699e641e8") == 4
    assert lines.count("image: installing") == lines.count("image: checksum") == 1
    beats = [line for line in lines if "image: installing," in line]
    assert 2 <= len(beats) <= 10
    assert not [line for line in lines if "an image …" in line]
    [row] = [line for line in lines if "│ a long step" in line]
    assert row.count("939a7f6d-82e7-4508-8b2e-b71699e641e8") == 4
