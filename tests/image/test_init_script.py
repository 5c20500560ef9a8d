"""What ``atoll-init`` makes of a seed, without an instance."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atoll.image.recipe import FILES
from atoll.image.seed import user_data

SEED = user_data(
    user="atoll",
    authorized_key="ssh-ed25519 AAAA controller\n",
    host_key="-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----",
    host_key_public="ssh-ed25519 BBBB",
    hostname="service-one",
)


def test_our_own_seed_is_understood_whole(atoll_init: ModuleType) -> None:
    meta = atoll_init.parse_meta_data('{"instance-id": "i-1"}')
    wanted = atoll_init.identity(meta, atoll_init.parse_user_data(SEED))
    assert wanted == {
        "instance_id": "i-1",
        "hostname": "service-one",
        "users": {
            "atoll": {"keys": ["ssh-ed25519 AAAA controller"], "sudo": ["ALL=(ALL) NOPASSWD:ALL"]}
        },
        "host_key": "-----BEGIN OPENSSH PRIVATE KEY-----\nx\n-----END OPENSSH PRIVATE KEY-----\n",
        "host_key_public": "ssh-ed25519 BBBB",
    }


def test_a_config_drives_keys_are_the_default_users(atoll_init: ModuleType) -> None:
    meta = {
        "uuid": "u-1",
        "hostname": "vm.novalocal",
        "public_keys": {"one": "ssh-ed25519 AAAA me\n", "two": "ssh-rsa CCCC\n"},
    }
    wanted = atoll_init.identity(atoll_init.parse_meta_data(json.dumps(meta)), {})
    assert wanted["instance_id"] == "u-1"
    assert wanted["hostname"] == "vm"
    assert wanted["users"]["atoll"]["keys"] == ["ssh-ed25519 AAAA me", "ssh-rsa CCCC"]
    assert wanted["host_key"] is None


def test_a_key_given_twice_is_written_once(atoll_init: ModuleType) -> None:
    meta = {"public_keys": {"one": "ssh-ed25519 AAAA controller"}}
    wanted = atoll_init.identity(meta, atoll_init.parse_user_data(SEED))
    assert wanted["users"]["atoll"]["keys"] == ["ssh-ed25519 AAAA controller"]


def test_plain_meta_data_lines(atoll_init: ModuleType) -> None:
    text = "# comment\ninstance-id: iid-7\nlocal-hostname: 'web'\n"
    wanted = atoll_init.identity(atoll_init.parse_meta_data(text), {})
    assert (wanted["instance_id"], wanted["hostname"]) == ("iid-7", "web")


@pytest.mark.parametrize(
    "text", ["", "#!/bin/sh\nrm -rf /\n", "#cloud-config\nusers: [yaml]\n", "#cloud-config\n[1]"]
)
def test_other_user_data_gives_nobody_access(atoll_init: ModuleType, text: str) -> None:
    assert atoll_init.identity({}, atoll_init.parse_user_data(text))["users"] == {}


@pytest.mark.parametrize("name", ["root", "../../etc", "a b", "-x", "0day", "x\ny", "", None, 7])
def test_a_bad_user_name_is_passed_over(atoll_init: ModuleType, name: object) -> None:
    config = {"users": [{"name": name, "ssh_authorized_keys": ["k"], "sudo": "ALL"}]}
    assert atoll_init.identity({}, config)["users"] == {}


def test_a_sudo_rule_stays_one_line(atoll_init: ModuleType) -> None:
    assert atoll_init.sudo_rules(["ALL=(ALL) ALL", "x\nroot ALL=(ALL) ALL"]) == ["ALL=(ALL) ALL"]
    assert atoll_init.sudo_rules(False) == []


@given(st.text(max_size=80))
def test_a_hostname_is_always_one(name: str) -> None:
    # Loaded here: hypothesis runs the test many times in one fixture's life
    init = sys.modules.get("atoll_init_for_hypothesis") or _load()
    made = init.safe_hostname(name)
    assert 0 < len(made) <= 63
    assert made[0] != "-"
    assert set(made) <= set("abcdefghijklmnopqrstuvwxyz0123456789-_")


def _load() -> ModuleType:
    module = ModuleType("atoll_init_for_hypothesis")
    source = (FILES / "rootfs/usr/lib/atoll/atoll-init").read_text()
    exec(compile(source, "atoll-init", "exec"), module.__dict__)
    sys.modules[module.__name__] = module
    return module


def test_a_label_inside_a_shares_file_system_is_not_a_seed(
    atoll_init: ModuleType, tmp_path: Path
) -> None:
    disk = bytearray(40000)
    disk[32769:32774] = b"CD001"
    disk[32808:32840] = b"CIDATA".ljust(32)
    device = tmp_path / "disk"
    device.write_bytes(disk)
    assert atoll_init.label_of(str(device)) == "cidata"
    disk[:4] = b"XFSB"
    device.write_bytes(disk)
    assert atoll_init.label_of(str(device)) == ""


def test_the_script_imports_only_what_is_quick_to_load() -> None:
    tree = ast.parse((FILES / "rootfs/usr/lib/atoll/atoll-init").read_text())
    imported = {
        alias.name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import)
        for alias in node.names
    }
    assert imported == {"json", "os", "sys", "time"}
    assert not any(isinstance(node, ast.ImportFrom) for node in ast.walk(tree))
