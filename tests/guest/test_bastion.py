"""A bastion between us and an instance: who is trusted, and with which key."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from atoll.errors import ConfigurationError, GuestUnreachable
from atoll.guest.base import Access
from atoll.guest.bastion import ALIAS, Bastion, BastionFiles, greets_behind
from atoll.guest.channel import SshGuest, open_guest
from atoll.guest.host_key import host_key
from atoll.guest.ssh import SshOptions, _command, _KeyFiles
from harness.service_vm import ServiceVm, free_port
from tests.guest.conftest import ACCESS, InstanceDouble

KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJ2rUMtNrQHpWGzsKpVlO3dDXBNKaeJuSDcjaYtWuC1x"
BASTION = Bastion("gate.example.org", "jump", 2222, Path("/keys/50% of them/id"), KEY)


def understood(*argv: str, cwd: Path | None = None) -> dict[str, str]:
    """What ssh itself makes of its arguments."""
    done = subprocess.run(["ssh", "-G", *argv], capture_output=True, text=True, check=True, cwd=cwd)
    return dict(line.partition(" ")[::2] for line in done.stdout.splitlines())


def test_ssh_is_told_all_of_the_bastion_and_nothing_of_it_for_others(tmp_path: Path) -> None:
    files = BastionFiles(BASTION, tmp_path)
    told = understood("-F", str(files.configuration), ALIAS)
    assert (told["hostname"], told["user"], told["port"]) == ("gate.example.org", "jump", "2222")
    assert told["identityfile"] == "/keys/50%% of them/id"
    assert (told["identitiesonly"], told["batchmode"]) == ("yes", "yes")
    assert told["stricthostkeychecking"] == "true"
    pinned = Path(told["userknownhostsfile"].strip('"'))
    assert pinned.read_text() == f"{ALIAS} {KEY}\n"
    assert (told["hostkeyalias"], told["globalknownhostsfile"]) == (ALIAS, "/dev/null")
    assert {path.stat().st_mode & 0o777 for path in tmp_path.iterdir()} == {0o600}
    other = understood("-F", str(files.configuration), "192.0.2.1")
    assert (other["hostname"], other["port"]) == ("192.0.2.1", "22")
    files.remove()
    assert list(tmp_path.iterdir()) == []


def test_without_a_pinned_key_known_hosts_decide_and_nobody_is_asked(tmp_path: Path) -> None:
    files = BastionFiles(Bastion("gate"), tmp_path)
    told = understood("-F", str(files.configuration), ALIAS)
    assert told["stricthostkeychecking"] == "true"
    assert "known_hosts" in told["userknownhostsfile"]
    assert "/etc/ssh/ssh_known_hosts" in told["globalknownhostsfile"]
    assert "hostkeyalias" not in told
    files.remove()


def test_the_instances_own_key_is_pinned_behind_a_bastion_too(tmp_path: Path) -> None:
    access = Access("atoll", "192.0.2.1", "SECRET", KEY)
    options = SshOptions(tmp_path, bastion=BASTION)
    command = _command(access, options, _KeyFiles(access, tmp_path, BASTION))
    told = understood(*command[1 : command.index("--")], "192.0.2.1", cwd=tmp_path)
    assert told["proxyjump"] == ALIAS
    assert (told["hostkeyalias"], told["stricthostkeychecking"]) == ("service-instance", "true")
    assert Path(told["userknownhostsfile"]).read_text() == f"service-instance {KEY}\n"
    assert told["globalknownhostsfile"] == "/dev/null"
    assert told["forwardagent"] == "no"


def test_nothing_but_an_address_is_asked_of_a_bastion(tmp_path: Path) -> None:
    access = Access("atoll", "192.0.2.1;reboot", "SECRET", KEY)
    with pytest.raises(GuestUnreachable, match="not a valid IP address"):
        SshGuest(access, SshOptions(tmp_path, bastion=BASTION), 5)


def test_a_channel_through_a_bastion_leaves_no_files(site: InstanceDouble) -> None:
    options = replace(site.options(), bastion=BASTION)
    guest = SshGuest(ACCESS, options, 20)
    assert guest.health()
    assert list(options.runtime_dir.iterdir()) == []
    guest.close()


def test_a_bastion_that_is_not_there_is_named(tmp_path: Path) -> None:
    bastion = Bastion("127.0.0.1", port=free_port())
    with pytest.raises(GuestUnreachable, match=r"192\.0\.2\.1 .*bastion 127\.0\.0\.1.*refused"):
        greets_behind(bastion, tmp_path, "192.0.2.1", seconds=10)
    with pytest.raises(GuestUnreachable, match="refused"):
        open_guest(ACCESS, SshOptions(tmp_path, bastion=bastion), 5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "given", [KEY, f"{KEY} root@gate", f"[gate]:2222 {KEY}", "file"], ids=str.split
)
def test_a_host_key_is_given_as_one_has_it(given: str, tmp_path: Path) -> None:
    if given == "file":
        given = str(tmp_path / "host.pub")
        Path(given).write_text(f"gate {KEY}\n")
    assert host_key(given, "ssh_proxy_host_key") == KEY


@pytest.mark.parametrize("given", ["/nonexistent/key", "AAAA", "gate AAAA", "ssh-rsa"])
def test_what_is_no_host_key_is_refused(given: str) -> None:
    with pytest.raises(ConfigurationError, match="ssh_proxy_host_key"):
        host_key(given, "ssh_proxy_host_key")


# --- on a real instance, which is its own bastion ---------------------------------------------


@pytest.fixture(scope="module")
def gate(machine: ServiceVm) -> Iterator[ServiceVm]:
    """A service instance that forwards, as no real one does."""
    change = "sed -i 's/^{}.*/{}/' /etc/ssh/sshd_config; systemctl restart ssh"
    real, open_to_all = "DisableForwarding yes", "AllowTcpForwarding yes"
    machine.open().close()
    machine.shell(change.format(real, open_to_all))
    yield machine
    machine.shell(change.format(open_to_all, real))


def through(gate: ServiceVm) -> Bastion:
    return Bastion(
        "127.0.0.1", "atoll", gate.port, gate.folder / "user", gate.access.host_key_public
    )


@pytest.mark.vm
@pytest.mark.timeout(400)
def test_an_instance_is_reached_through_a_bastion(gate: ServiceVm, tmp_path: Path) -> None:
    inside = replace(gate.access, address="127.0.0.1")  # as the bastion sees it, at port 22
    bastion = through(gate)
    greets_behind(bastion, tmp_path, inside.address, seconds=60)
    guest = open_guest(inside, SshOptions(tmp_path, bastion=bastion), 120)
    assert guest.health().uptime_seconds > 0
    assert list(tmp_path.iterdir()) == []
    guest.close()


@pytest.mark.vm
@pytest.mark.timeout(400)
def test_nobody_can_pose_as_the_bastion_or_as_the_instance(gate: ServiceVm, tmp_path: Path) -> None:
    inside = replace(gate.access, address="127.0.0.1")
    false = replace(through(gate), host_key_public=KEY)
    with pytest.raises(GuestUnreachable, match="Host key verification failed"):
        greets_behind(false, tmp_path, inside.address, seconds=60)
    with pytest.raises(GuestUnreachable, match="Host key verification failed"):
        SshGuest(inside, SshOptions(tmp_path, bastion=false), 60)
    posing = replace(inside, host_key_public=KEY)
    with pytest.raises(GuestUnreachable, match="Host key verification failed"):
        SshGuest(posing, SshOptions(tmp_path, bastion=through(gate)), 60)
