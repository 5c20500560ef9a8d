"""The settings: where they come from, and what is said of mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from atoll.config import load
from atoll.errors import ConfigurationError


def test_the_environment_comes_before_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text('cloud = "memory"\n[api]\nport = 1\nthreads = 2\n[worker]\nlease = 5\n')
    monkeypatch.setenv("ATOLL_API__PORT", "7")
    monkeypatch.setenv("ATOLL_DRIVER__ENABLED_SHARE_PROTOCOLS", '["CIFS"]')
    settings = load(file, host="here")
    assert (settings.cloud, settings.host) == ("memory", "here")
    assert (settings.api.port, settings.api.threads, settings.worker.lease) == (7, 2, 5.0)
    assert settings.driver.enabled_share_protocols == ("CIFS",)


def test_every_mistake_is_told_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text(
        'nonsense = 1\ncloud = "memry"\nlog = 3\n'
        '[worker]\nthreads = 0\nlease = "long"\nthread = 1\n[local]\nservice_image = 4\n'
    )
    monkeypatch.setenv("ATOLL_API__PORT", "seven")
    monkeypatch.setenv("ATOLL_API__PROT", "7")
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    told = str(caught.value)
    for mistake in (
        "nonsense: unknown option",
        "cloud: Invalid enum value 'memry'",
        "log: a table is expected",
        "worker.threads: Expected `int` >= 1",
        "worker.lease: Expected `float`, got `str`",
        "worker.thread: unknown option",
        "local.service_image: Expected `Path`, got `int`",
        "ATOLL_API__PORT: Expected `int`, got `str`",
        "ATOLL_API__PROT: unknown option",
    ):
        assert mistake in told


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text("port: 7\n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(tmp_path / "atoll.toml")
