"""The seed CD, read back the way the instance reads it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import ModuleType

import pytest

from atoll.errors import ConfigurationError
from atoll.image import seed_iso


def write_seed(path: Path, instance_id: str = "i-1") -> Path:
    return seed_iso(
        path,
        instance_id=instance_id,
        user="atoll",
        authorized_key="ssh-ed25519 AAAA",
        host_key="PRIVATE",
        host_key_public="ssh-ed25519 BBBB",
        hostname="service-one",
    )


def extract(iso: Path, name: str, target: Path) -> str:
    argv = ["xorriso", "-osirrox", "on", "-indev", str(iso), "-extract", f"/{name}", str(target)]
    subprocess.run(argv, check=True, capture_output=True)
    return target.read_text()


def test_the_cd_carries_the_seed_and_its_label(tmp_path: Path, atoll_init: ModuleType) -> None:
    iso = write_seed(tmp_path / "seed.iso")
    assert atoll_init.label_of(str(iso)) == "cidata"
    meta = json.loads(extract(iso, "meta-data", tmp_path / "meta"))
    assert meta == {"instance-id": "i-1", "local-hostname": "service-one"}
    config = atoll_init.parse_user_data(extract(iso, "user-data", tmp_path / "user"))
    assert config["ssh_keys"]["ed25519_private"] == "PRIVATE\n"
    assert config["users"][0]["lock_passwd"] is True


def test_only_its_owner_reads_it_and_nothing_else_is_left(tmp_path: Path) -> None:
    iso = write_seed(tmp_path / "seed.iso")
    assert iso.stat().st_mode & 0o777 == 0o600
    write_seed(iso, instance_id="i-2")
    assert [path.name for path in tmp_path.iterdir()] == ["seed.iso"]


def test_a_missing_program_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="xorriso"):
        write_seed(tmp_path / "seed.iso")
    assert list(tmp_path.iterdir()) == []
