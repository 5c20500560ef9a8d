"""What ``log.level = "debug"`` prints, and what not even that prints."""

from __future__ import annotations

import json
import subprocess
import sys

PROGRAM = """
import structlog
from keystoneauth1.exceptions import ConnectFailure
from keystoneauth1.session import Session
from atoll import log

log.configure("debug", "json")
structlog.get_logger("atoll").debug("ours", host_key="an instance's host key")
try:
    Session().post("http://127.0.0.1:9/servers", json={"user_data": "an instance's keys"})
except ConnectFailure:
    pass
"""


def test_not_even_debugging_prints_what_a_library_sends() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    [line] = done.stderr.splitlines()
    assert json.loads(line)["event"] == "ours"
    assert "an instance's" not in done.stderr
