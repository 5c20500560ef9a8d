"""An instance that somebody has broken into: whatever it sends harms nobody but itself."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import GuestError, GuestUnreachable
from atoll.guest.base import WantedShare
from atoll.guest.channel import SshGuest
from atoll.guest.ssh import SshOptions, _KeyFiles
from tests.guest.conftest import ACCESS, HERE, InstanceDouble, rules

DIGEST, NO_DIGEST = "0" * 64, f'"{"x" * 64}"'
SHARE = WantedShare(
    share_id="share-1",
    serial="serial",
    file_system="ext4",
    may_format=True,
    path="/shares/share-1",
    protocol="NFS",
    fsid="4dd1c9c1-a5a3-4b6e-8a3c-000000000001",
    rules=rules("10.0.0.1"),
)


def result(text: str) -> str:
    """The expression for an answer with this result."""
    return f"""b'{{"id": %d, "result": {text}}}' % id + b"\\n" """


def error(text: str) -> str:
    """The expression for an answer with this error."""
    return f"""b'{{"id": %d, "error": {text}}}' % id + b"\\n" """


@contextmanager
def instance(tmp_path: Path, answer: str) -> Iterator[SshGuest]:
    program = (sys.executable, str(HERE / "hostile_ssh_double.py"), answer)
    guest = SshGuest(ACCESS, SshOptions(tmp_path / "keys", program=program), 10)
    yield guest
    guest.close()


def usage(size: str, share: str = '"share-1"') -> str:
    return f'{{"shares": [{{"share_id": {share}, "size_bytes": 1, "used_bytes": {size}}}]}}'


def health(**changes: str) -> str:
    fields = {
        "boot_id": '"b"',
        "nfs_running": "true",
        "smb_running": "true",
        "uptime_seconds": "1.5",
        "shares": "[]",
    } | changes
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


def served(**changes: str) -> str:
    fields = {
        "share_id": '"share-1"',
        "mounted": "true",
        "exported": "true",
        "fence": "1",
        "rules_digest": f'"{DIGEST}"',
    } | changes
    return "{" + ", ".join(f'"{name}": {value}' for name, value in fields.items()) + "}"


ONE = '{"share_id": "share-1", "size_bytes": 1, "used_bytes": 1}'


@pytest.mark.parametrize(
    "answer",
    [
        result(usage("1" + "0" * 30)),
        result(usage("9223372036854775808")),
        result(usage("-1")),
        result(usage("NaN")),
        result(usage("1e400")),
        result(usage("1.5")),
        result(usage('"1"')),
        result(usage("null")),
        result(usage("9" * 5000)),
        result(usage("1", '"share\\\\u0000"')),
        result(usage("1", '"\\\\ud800"')),
        result(usage("1", '"../../etc"')),
        result(usage("1", f'"{"s" * 65}"')),
        result(usage("1", "[]")),
        result(f'{{"shares": [{ONE}, {ONE}]}}'),
        result('{"shares": {}}'),
        result("{}"),
        result("[]"),
        result("null"),
        result("[" * 30_000 + "]" * 30_000),
        error("{}"),
        error("[]"),
        error('"no"'),
        error('{"code": 1, "message": "no"}'),
        error('{"code": "failed", "message": ["no"]}'),
        """b'{"id": %d}\\n' % id""",
    ],
    ids=range(26),
)
def test_usage_that_makes_no_sense_is_that_calls_error(tmp_path: Path, answer: str) -> None:
    with instance(tmp_path, answer) as guest, pytest.raises(GuestError):
        guest.usage(deadline=2)


@pytest.mark.parametrize(
    "answer",
    [
        health(boot_id="1"),
        health(boot_id=f'"{"b" * 100}"'),
        health(nfs_running='"yes"'),
        health(uptime_seconds="1e30"),
        health(uptime_seconds="-1"),
        health(shares="{}"),
        health(shares=f"[{served()}, {served()}]"),
        health(shares=f"[{served(fence='1' + '0' * 30)}]"),
        health(shares=f"[{served(fence='-1')}]"),
        health(shares=f"[{served(rules_digest=NO_DIGEST)}]"),
        health(shares=f"[{served(mounted='1')}]"),
        health(shares="[{}]"),
        "{}",
    ],
    ids=range(13),
)
def test_health_that_makes_no_sense_is_that_calls_error(tmp_path: Path, answer: str) -> None:
    with instance(tmp_path, result(answer)) as guest, pytest.raises(GuestError):
        guest.health(deadline=2)


@pytest.mark.parametrize(
    "answer",
    [
        '{"size_bytes": -1, "used_bytes": 1, "formatted": true}',
        '{"size_bytes": 1, "used_bytes": 1, "formatted": true, "rejected_rules": {"9.9.9.9": ""}}',
        '{"size_bytes": 1, "used_bytes": 1, "formatted": true, "rejected_rules": {"10.0.0.1": 1}}',
        '{"size_bytes": 1, "used_bytes": 1, "formatted": true, "steps": {"a b": 1}}',
        '{"size_bytes": 1, "used_bytes": 1, "formatted": true, "steps": {"a": "1"}}',
        '{"size_bytes": 1, "used_bytes": 1, "formatted": "perhaps"}',
    ],
    ids=range(6),
)
def test_an_applied_share_that_makes_no_sense_is_an_error(tmp_path: Path, answer: str) -> None:
    with instance(tmp_path, result(answer)) as guest, pytest.raises(GuestError):
        guest.apply_share(SHARE, fence=1, deadline=2)


@pytest.mark.parametrize(
    "answer",
    [
        "{}",
        '{"known": 1}',
        '{"known": true, "rules": {}}',
        '{"known": true, "rules": [{"type": "ip", "to": "10.0.0.1"}]}',
        '{"known": true, "rules": [{"type": "ip", "to": "10.0.0.1", "level": "root"}]}',
        '{"known": true, "rules": [{"type": "ip", "to": "\\\\u001b[31m", "level": "rw"}]}',
        f'{{"known": true, "rules": [{{"type": "ip", "to": "{"1" * 300}", "level": "rw"}}]}}',
    ],
    ids=range(7),
)
def test_clients_that_make_no_sense_are_an_error(tmp_path: Path, answer: str) -> None:
    with instance(tmp_path, result(answer)) as guest, pytest.raises(GuestError):
        guest.admitted("share-1", deadline=2)


def test_an_honest_answer_is_taken(tmp_path: Path) -> None:
    with instance(tmp_path, result(health(shares=f"[{served()}]"))) as guest:
        assert [share.share_id for share in guest.health().shares] == ["share-1"]


def test_its_words_are_short_and_can_be_printed(tmp_path: Path) -> None:
    text = r"x\\u0000\\u001b[31m\\n\\u202e" + "y" * 100_000 + r"\\u0007end"
    answer = error(f'{{"code": "failed", "message": "{text}"}}')
    with instance(tmp_path, answer) as guest, pytest.raises(GuestError) as caught:
        guest.usage()
    assert str(caught.value).endswith("end")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1100


def test_words_about_a_rule_are_short_and_can_be_printed(tmp_path: Path) -> None:
    text = r"\\u0000\\u001b" + "y" * 10_000
    answer = f'{{"10.0.0.1": "{text}"}}'
    answer = f'{{"size_bytes": 1, "used_bytes": 1, "formatted": true, "rejected_rules": {answer}}}'
    with instance(tmp_path, result(answer)) as guest:
        words = guest.apply_share(SHARE, fence=1).rejected_rules["10.0.0.1"]
    assert words.isprintable()
    assert len(words) <= 500


@pytest.mark.parametrize(
    "flood",
    [
        'b"x" * (5 << 20)',
        """b'{"id": 1000000, "result": {}}\\n' * 400_000""",
        'b"\\n" * 400_000',
        """b'{"hello": {"protocol": 1, "boot_id": "other"}}\\n' * 400_000""",
    ],
    ids=["no end", "answers to nothing", "empty lines", "greetings"],
)
def test_who_floods_the_channel_loses_it(tmp_path: Path, flood: str) -> None:
    with instance(tmp_path, flood) as guest:
        with pytest.raises(GuestUnreachable, match="It sends"):
            guest.usage(deadline=60)
        assert guest.boot_id == "4dd1c9c1-a5a3"
        assert not guest.alive


def test_complaints_without_end_fill_neither_disk_nor_memory(tmp_path: Path) -> None:
    """The agent answers; beside it somebody writes to the channel's error stream."""
    answer = f"""os.write(2, b"x" * (1 << 19) + b"end") and {result('{"shares": []}')}"""
    with instance(tmp_path, answer) as guest:
        for _ in range(4):
            assert guest.usage(deadline=20) == ()
        pid, keys = os.getpid(), tmp_path / "keys"
        opened = [link for link in Path(f"/proc/{pid}/fd").iterdir() if link.is_symlink()]
        places = [str(link.readlink()) for link in opened if link.exists()]
        assert not [place for place in places if place.startswith(str(keys))]
        assert len(guest._ssh.words()) <= 2000


def test_a_request_that_is_too_large_is_that_shares_error(guest: SshGuest) -> None:
    many = replace(
        SHARE, rules=rules(*(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(220_000)))
    )
    with pytest.raises(GuestError, match="too many") as caught:
        guest.apply_share(many, fence=1)
    assert not caught.value.retryable
    assert guest.alive
    assert guest.usage() == ()


def test_an_agent_goes_on_after_a_line_that_is_too_long(guest: SshGuest) -> None:
    guest._send(b"x" * (20 << 20) + b"\n", time.monotonic() + 60)
    assert guest.usage(deadline=30) == ()


def test_keys_that_a_killed_worker_left_are_swept(site: InstanceDouble) -> None:
    keys = site.root / "keys"
    script = (
        "import os, signal; from pathlib import Path; from tests.guest.conftest import ACCESS;"
        "from atoll.guest.bastion import Bastion; from atoll.guest.ssh import _KeyFiles;"
        f"_KeyFiles(ACCESS, Path({str(keys)!r}), Bastion('gate', host_key_public='ssh-ed25519 K'));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", script], check=False, cwd=HERE.parent.parent)
    left = list(keys.iterdir())
    assert len(left) == 4
    (keys / "0123456789abcdef.key").write_text("an older version's")
    (keys / "notes.txt").write_text("somebody else's")
    opening = _KeyFiles(ACCESS, keys)  # a worker that lives, and is logging in
    assert sorted(keys.iterdir()) == sorted([opening.key, opening.known_hosts, keys / "notes.txt"])
    guest = site.open()
    assert opening.key.exists()
    opening.remove()
    guest.close()
    assert list(keys.iterdir()) == [keys / "notes.txt"]
