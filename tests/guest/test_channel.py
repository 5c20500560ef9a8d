"""The channel: many calls at once, deadlines, and an honest end."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import GuestError, GuestUnreachable
from atoll.guest.answers import Nothing
from atoll.guest.base import Access
from atoll.guest.channel import SshGuest, open_guest
from atoll.guest.ssh import SshOptions, _command, _KeyFiles, await_banner
from tests.guest.conftest import ACCESS, InstanceDouble


def pid_of(guest: SshGuest) -> int:
    return guest._ssh.process.pid


def test_an_agent_answers(guest: SshGuest) -> None:
    health = guest.health()
    assert health.boot_id == guest.boot_id != ""
    assert health.uptime_seconds > 0
    assert health.shares == ()
    assert guest.usage() == ()


def test_many_threads_share_a_channel(guest: SshGuest) -> None:
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda _: guest.health().boot_id, range(200)))
    assert set(answers) == {guest.boot_id}


def test_an_unknown_verb_is_refused(guest: SshGuest) -> None:
    with pytest.raises(GuestError, match="no verb 'shell'"):
        guest._call("shell", {"command": "reboot"}, Nothing, 5)
    assert guest.alive


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b'{"id": 1}\n', b"x" * 100_000 + b"\n"])
def test_noise_does_not_end_an_agent(guest: SshGuest, line: bytes) -> None:
    guest._send(line, time.monotonic() + 5)
    assert guest.health()


def test_a_lost_instance_ends_all_waiting_calls(guest: SshGuest) -> None:
    os.kill(pid_of(guest), signal.SIGSTOP)
    with ThreadPoolExecutor(4) as pool:
        calls = [pool.submit(guest.health, deadline=60) for _ in range(4)]
        time.sleep(0.1)
        os.kill(pid_of(guest), signal.SIGKILL)
        for call in calls:
            with pytest.raises(GuestUnreachable, match="connection was lost"):
                call.result(5)
    assert not guest.alive
    with pytest.raises(GuestUnreachable):
        guest.health()


def test_a_hung_instance_is_given_up(guest: SshGuest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atoll.guest.channel.GRACE", 0.1)
    os.kill(pid_of(guest), signal.SIGSTOP)
    start = time.monotonic()
    with pytest.raises(GuestUnreachable, match=r"did not answer health in 0\.2 s"):
        guest.health(deadline=0.2)
    assert time.monotonic() - start < 2
    assert not guest.alive


def test_an_instance_that_takes_no_requests_blocks_nobody_for_long(
    guest: SshGuest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("atoll.guest.channel.GRACE", 0.1)
    os.kill(pid_of(guest), signal.SIGSTOP)
    with pytest.raises(GuestUnreachable):
        guest._call("usage", {"much": "x" * 1_000_000}, Nothing, 0.5)
    assert not guest.alive


def test_the_refusal_of_ssh_is_in_the_message(site: InstanceDouble) -> None:
    program = ("sh", "-c", "echo Permission denied. >&2; exit 255")
    with pytest.raises(GuestUnreachable, match=r"192\.0\.2\.1 .*Permission denied"):
        SshGuest(ACCESS, replace(site.options(), program=program), 5)


def test_an_instance_without_the_program_is_unreachable(site: InstanceDouble) -> None:
    with pytest.raises(GuestUnreachable, match="can't be started"):
        SshGuest(ACCESS, replace(site.options(), program=("/nonexistent",)), 5)


def test_a_slow_start_ends_at_the_deadline(site: InstanceDouble) -> None:
    start = time.monotonic()
    # The one where the agent's text fits into a pipe that nobody reads, the other where it doesn't.
    with pytest.raises(GuestUnreachable, match=r"No agent in time|takes no requests"):
        site.open(delay=30, deadline=0.3)
    assert time.monotonic() - start < 4


def test_keys_are_private_and_gone_after_the_login(site: InstanceDouble) -> None:
    keys = site.root / "keys"
    seen: list[int] = []

    def watch() -> None:
        while not seen:
            seen.extend(path.stat().st_mode & 0o777 for path in keys.glob("*"))

    watcher = threading.Thread(target=watch)
    watcher.start()
    guest = site.open(delay=0.5)
    watcher.join(5)
    assert set(seen) == {0o600}
    assert keys.stat().st_mode & 0o777 == 0o700
    assert list(keys.iterdir()) == []
    guest.close()
    assert guest._ssh.process.poll() is not None


def test_ssh_trusts_one_key_and_asks_nobody(tmp_path: Path) -> None:
    options = SshOptions(tmp_path, port=2222, extra=("RekeyLimit=1G",))
    access = Access("root", "-oProxyCommand=x", "SECRET", "ssh-ed25519 KEY host\n")
    files = _KeyFiles(access, tmp_path)
    command = _command(access, options, files)
    assert files.known_hosts.read_text() == "service-instance ssh-ed25519 KEY host\n"
    assert files.key.read_text() == "SECRET\n"
    assert {"StrictHostKeyChecking=yes", "BatchMode=yes", "RekeyLimit=1G"} < set(command)
    assert command[command.index("-F") + 1] == "none"
    assert not any("Proxy" in argument for argument in command[: command.index("--")])
    assert command[command.index("--") + 1] == access.address
    assert not any("SECRET" in argument for argument in command)
    assert command[-1].startswith("python3 ")  # root needs no sudo


def test_a_booting_instance_is_waited_for() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]

        def boot() -> None:
            time.sleep(0.3)
            listener.listen()
            for greeting in (b"", b"SSH-2.0-late\r\n"):
                connection, _ = listener.accept()
                connection.sendall(greeting)
                connection.close()

        threading.Thread(target=boot, daemon=True).start()
        await_banner("127.0.0.1", port, 10)


def test_an_instance_that_never_greets_is_unreachable() -> None:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        access = replace(ACCESS, address="127.0.0.1")
        options = SshOptions(Path("/nonexistent"), port=listener.getsockname()[1])
        with pytest.raises(GuestUnreachable, match="No SSH server answers"):
            open_guest(access, options, 0.7)
