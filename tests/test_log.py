"""What ``log.level = "debug"`` prints, and what not even that prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from .cloud.neutron_double import neutron_double

CLOUDS = """
clouds:
  double:
    auth_type: none
    network_api_version: "2"
    network_endpoint_override: {url}
"""
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


def test_a_commands_output_is_its_answer_alone(tmp_path: Path) -> None:
    """Also while most of a cloud doesn't answer, which the doctor says of each part."""
    config = tmp_path / "atoll.toml"
    config.write_text(
        f'cloud = "openstack"\nstate_dir = "{tmp_path}"\nopenstack.cloud = "double"\n'
    )
    clouds = tmp_path / "clouds.yaml"
    atoll = Path(sys.executable).with_name("atoll")
    argv = [str(atoll), "--config", str(config), "doctor", "--json"]
    with neutron_double() as (server, _):
        clouds.write_text(CLOUDS.format(url=server.url))
        environment = {**os.environ, "OS_CLIENT_CONFIG_FILE": str(clouds)}
        done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
        assert server.requests
    found = {finding["check"]: finding["ok"] for finding in json.loads(done.stdout)}
    assert found["Networking"]
    assert not found["Flavor"]
    assert done.stderr == ""
