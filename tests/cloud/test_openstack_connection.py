"""The connection to OpenStack: wide enough for all workers, and no question without a deadline."""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from atoll.cloud import sole
from atoll.cloud.openstack import OpenStackSettings, cloud
from atoll.cloud.openstack import api as module
from atoll.cloud.openstack.api import Api
from atoll.errors import CloudUnavailable

from .neutron_double import neutron_double

THREADS = 32


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> OpenStackSettings:
    """Those of a cloud that only the environment describes, which the test goes on with."""
    for name in [name for name in os.environ if name.startswith("OS_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(tmp_path / "none.yaml"))
    return OpenStackSettings(state_dir=tmp_path, threads=THREADS)


def test_all_threads_of_a_worker_ask_at_once(
    settings: OpenStackSettings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with neutron_double() as (server, _):
        server.seconds = 0.1
        monkeypatch.setenv("OS_AUTH_TYPE", "none")
        monkeypatch.setenv("OS_ENDPOINT", server.url)
        monkeypatch.setenv("OS_NETWORK_ENDPOINT_OVERRIDE", server.url)
        monkeypatch.setenv("OS_NETWORK_API_VERSION", "2")
        connection = cloud.connect(settings)
        api = Api(connection, "network")
        together = threading.Barrier(THREADS)

        def ask(_: int) -> None:
            together.wait(10)
            api.get("/networks")

        with caplog.at_level(logging.WARNING), ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(ask, range(THREADS)))
        connection.close()
    assert len([request for request in server.requests if "networks" in request]) == THREADS
    assert "pool is full" not in caplog.text


@pytest.fixture
def silence() -> Iterator[str]:
    """A service that takes connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"


def test_keystone_may_not_keep_anybody_waiting(
    settings: OpenStackSettings, silence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(sole, "TRIES", 1)
    for name, value in {
        "AUTH_URL": f"{silence}/v3",
        "USERNAME": "atoll",
        "PASSWORD": "secret",
        "PROJECT_NAME": "service",
        "USER_DOMAIN_NAME": "Default",
        "PROJECT_DOMAIN_NAME": "Default",
    }.items():
        monkeypatch.setenv(f"OS_{name}", value)
    connection = cloud.connect(settings)
    start = time.monotonic()
    with pytest.raises(CloudUnavailable):
        Api(connection, "network").get("/networks")
    assert time.monotonic() - start < 10
    connection.close()


def test_a_service_may_not_keep_anybody_waiting(
    settings: OpenStackSettings, silence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cloud, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(module, "ANSWER_SECONDS", 0.3)
    monkeypatch.setattr(sole, "TRIES", 1)
    monkeypatch.setenv("OS_AUTH_TYPE", "none")
    monkeypatch.setenv("OS_ENDPOINT", silence)
    monkeypatch.setenv("OS_NETWORK_ENDPOINT_OVERRIDE", f"{silence}/v2.0")
    connection = cloud.connect(settings)
    start = time.monotonic()
    with pytest.raises(CloudUnavailable):
        Api(connection, "network").get("/networks")
    assert time.monotonic() - start < 10
    connection.close()
