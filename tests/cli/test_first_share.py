"""The lines that a newcomer copies: they work as they stand, and open no more than they must."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from ipaddress import ip_network
from pathlib import Path

import pytest

from atoll.cli import serve
from harness.story import connect
from tests.api.served import serving
from tests.docs.pages import PAGES, commands
from tests.programs import ROOT

EXAMPLES = [ROOT / "README.md", *PAGES]


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.skipif(
    importlib.util.find_spec("manilaclient") is None, reason="the clients are not installed"
)
def test_the_ready_text_lets_in_the_share_network_alone(tmp_path: Path) -> None:
    with serving(tmp_path) as url:
        text = (tmp_path / "ready.txt").read_text()
        lines = [line for line in text.splitlines() if line.startswith("  ")]
        done = subprocess.run(
            ["sh", "-ec", "\n".join(lines)],
            env={**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )
        assert done.returncode == 0, done.stderr
        api = connect(url, (tmp_path / "admin.token").read_text().strip())
        [share] = api.shares()
        [rule] = api.access_rules(share)
        [network] = api.get("/share-networks/detail").json()["share_networks"]
    [subnet] = network["share_network_subnets"]
    assert rule.access_to == subnet["cidr"]


def test_readme_and_ready_text_say_the_same() -> None:
    lines = serve.ON_A_NETWORK.format(only_range=serve.ONLY_RANGE).splitlines()
    readme = (ROOT / "README.md").read_text().splitlines()
    assert [line.strip() for line in lines if line.strip() not in readme] == []


@pytest.mark.parametrize("page", EXAMPLES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_example_opens_more_than_it_must(page: Path) -> None:
    for words in commands(page):
        if words[:4] == ["openstack", "share", "access", "create"] and words[5] == "ip":
            to = words[6]
            assert to.isupper() or to[0] == "$" or ip_network(to).prefixlen >= 16, words
        assert "777" not in words, words
    text = page.read_text(encoding="utf-8")
    assert not re.search(r"0\.0\.0\.0/0|::/0|host = \"0\.0\.0\.0\"", text)


def test_programs_print_no_example_that_opens_everything() -> None:
    for room in ("src/atoll/cli", "demo", "bench", "scripts", "systemd"):
        for file in (ROOT / room).rglob("*"):
            if file.is_file() and file.suffix != ".pyc":
                assert "0.0.0.0/0" not in file.read_text(encoding="utf-8"), file
