"""A disk that is full: what is there is shown, and what is deleted goes."""

from __future__ import annotations

import json
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.api.served import serving


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=48m", "tmpfs", str(place)]
    subprocess.run(["mount", *options], check=True)
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


class User:
    """Who asks the API."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"X-Auth-Token": token, "X-OpenStack-Manila-API-Version": "2.65"}

    def __call__(self, method: str, path: str, body: object = None) -> tuple[int, Any]:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, self._headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                content = answer.read()
                return answer.status, json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            return error.code, json.loads(error.read())

    def create(self) -> tuple[int, Any]:
        _, networks = self("GET", "/share-networks")
        network = networks["share_networks"][0]["id"]
        share = {"share_proto": "NFS", "size": 1, "share_network_id": network}
        return self("POST", "/shares", {"share": share})

    def until(self, path: str, code: int, status: str = "") -> None:
        end = time.monotonic() + 40
        while True:
            found, body = self("GET", path)
            if found == code and (not status or body["share"]["status"] == status):
                return
            assert time.monotonic() < end, (found, body)
            time.sleep(0.1)


def fill(disk: Path) -> Path:
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        try:
            while True:
                file.write(b"x" * 4096)
        except OSError:
            return filler


@pytest.mark.parametrize("is_running", [True, False], ids=["while it runs", "before it starts"])
def test_a_full_disk_serves_get_and_delete(disk: Path, is_running: bool) -> None:
    state = disk / "state"
    state.mkdir()
    filler = disk / "filler"
    shares: list[str] = []
    with serving(state) as url:
        user = User(url, (state / "admin.token").read_text().strip())
        for _ in range(3):
            code, body = user.create()
            assert code == 200
            shares.append(body["share"]["id"])
            user.until(f"/shares/{shares[-1]}", 200, "available")
        if is_running:
            fill(disk)
            full(user, shares, filler)
    if not is_running:
        fill(disk)
        with serving(state) as url:
            full(User(url, (state / "admin.token").read_text().strip()), shares, filler)


def full(user: User, shares: list[str], filler: Path) -> None:
    """What holds on a full disk, again when it has been filled once more, and after."""
    for share in shares[:2]:
        assert user("GET", "/shares/detail")[0] == 200
        code, fault = user.create()
        assert code == 507
        assert "disk is full" in fault["computeFault"]["message"]
        assert user("DELETE", f"/shares/{share}")[0] == 202
        user.until(f"/shares/{share}", 404)
        fill(filler.parent / "state")  # others take what was just given back
        (filler.parent / "state" / "filler").rename(filler.with_name(f"filler {share}"))
    for path in filler.parent.glob("filler*"):
        path.unlink()
    code, body = user.create()
    assert code == 200
    user.until(f"/shares/{body['share']['id']}", 200, "available")
