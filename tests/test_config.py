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
        '[openstack]\nssh_source_cidrs = ["10.0.0.0/8", "10.0.0.1/8"]\n'
        'ssh_proxy_jump = "-oProxyCommand=x"\n'
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
        "openstack.ssh_source_cidrs: 10.0.0.1/8 has host bits set; write it like 10.0.0.0/8",
        "openstack.ssh_proxy_jump: Expected [user@]host[:port]",
        "ATOLL_API__PORT: Expected `int`, got `str`",
        "ATOLL_API__PROT: unknown option",
    ):
        assert mistake in told


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("gate", ("", "gate", 22)),
        ("jump@gate.example.org:2222", ("jump", "gate.example.org", 2222)),
        ("[fd00::1]:22", ("", "fd00::1", 22)),
        ("jump@[fd00::1]", ("jump", "fd00::1", 22)),
    ],
)
def test_a_bastion_is_written_as_for_ssh(
    text: str, parts: tuple[str, str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ATOLL_OPENSTACK__SSH_PROXY_JUMP", text)
    bastion = load().openstack.ssh_proxy_jump
    assert (bastion.user, bastion.host, bastion.port) == parts


def test_a_file_that_is_no_toml(tmp_path: Path) -> None:
    file = tmp_path / "atoll.toml"
    file.write_text("port: 7\n")
    with pytest.raises(ConfigurationError, match="not valid TOML"):
        load(file)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="does not exist"):
        load(tmp_path / "atoll.toml")
