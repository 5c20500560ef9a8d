"""The inputs of an image: sources of this machine, packages, and the cache's key."""

from __future__ import annotations

import io
import tarfile
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import ConfigurationError
from atoll.image.recipe import Recipe, lines_of, machine_sources, make_recipe, rootfs_tar

DEB822 = """\
# the distribution
Types: deb deb-src
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates bookworm-backports
Components: main contrib
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: http://mirror.example/security
Suites: bookworm-security
Components: main

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main
"""
ONE_LINE = """\
deb [arch=amd64 signed-by=/etc/apt/keyrings/x.gpg] http://mirror.example/ubuntu noble main universe
deb-src http://mirror.example/ubuntu noble main
deb http://mirror.example/ubuntu noble-updates main restricted universe # updates
deb https://third.example/linux noble stable
deb https://other.example/apt noble-pgdg main
"""


def test_sources_of_the_suite_are_taken_and_third_parties_left(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(DEB822)
    (tmp_path / "sources.list").write_text(ONE_LINE)
    keyring = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] "
    assert machine_sources("bookworm", ["main"], tmp_path) == [
        f"deb {keyring}http://mirror.example/debian bookworm main",
        f"deb {keyring}http://mirror.example/debian bookworm-updates main",
        "deb http://mirror.example/security bookworm-security main",
    ]
    assert machine_sources("noble", ["main", "universe"], tmp_path) == [
        "deb [signed-by=/etc/apt/keyrings/x.gpg] http://mirror.example/ubuntu noble main universe",
        "deb http://mirror.example/ubuntu noble-updates main universe",
    ]


def test_a_machine_without_the_suite_says_so() -> None:
    with pytest.raises(ConfigurationError, match="nothing for 'potato'"):
        make_recipe("potato")


RECIPE = Recipe("debian", "bookworm", ("deb http://x bookworm main",), ("samba",))


@pytest.mark.parametrize(
    "other",
    [
        replace(RECIPE, suite="trixie"),
        replace(RECIPE, sources=("deb http://y bookworm main",)),
        replace(RECIPE, packages=("samba", "vim")),
    ],
)
def test_every_input_is_in_the_key(other: Recipe) -> None:
    assert RECIPE.key == replace(RECIPE).key
    assert other.key != RECIPE.key
    assert other.root_uuid != RECIPE.root_uuid


def test_files_of_the_recipe_are_in_the_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = tmp_path / "files"
    files.mkdir()
    monkeypatch.setattr("atoll.image.recipe.FILES", files)
    before = RECIPE.key
    (files / "packages.txt").write_text("samba\n")
    assert RECIPE.key != before


def test_packages_hold_what_a_service_instance_and_a_client_need() -> None:
    packages = lines_of("packages.txt")
    assert {"openssh-server", "nfs-kernel-server", "samba", "nfs-common", "cifs-utils"} <= set(
        packages
    )
    assert not [name for name in packages if not name.replace("-", "").replace(".", "").isalnum()]


def test_the_overlay_belongs_to_root_and_is_the_same_each_time() -> None:
    made = rootfs_tar()
    assert made == rootfs_tar()
    with tarfile.open(fileobj=io.BytesIO(made)) as tar:
        members = {member.name: member for member in tar}
    assert {"usr/lib/atoll/atoll-init", "etc/ssh/sshd_config", "customize.sh"} <= set(members)
    assert {(m.uid, m.gid, m.mode) for m in members.values()} == {(0, 0, 0o644)}
