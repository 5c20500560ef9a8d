"""Clients of an instance that was replaced are told as soon as the instance has their address."""

from __future__ import annotations

from atoll.guest.channel import SshGuest
from tests.guest.conftest import InstanceDouble

LINE = "0A000002:0801 0A000009:03FF"
TICKLE = """
def parse(line):
    return line.split()

def sent(connection):
    with open({log!r}, "a") as log:
        print("woken", connection[1], file=log)
    return True
"""


def lose_connections(site: InstanceDouble, *lines: str) -> None:
    state = site.root / "var/lib/nfs-state"
    state.mkdir(parents=True)
    (state / "connections.lost").write_text("".join(f"{line}\n" for line in lines))


def install(site: InstanceDouble, program: str) -> None:
    folder = site.root / "usr/lib/atoll"
    folder.mkdir(parents=True)
    (folder / "atoll-tickle").write_text(program)


def test_they_are_woken_before_another_program_has_started(
    guest: SshGuest, site: InstanceDouble
) -> None:
    lose_connections(site, LINE)
    install(site, TICKLE.format(log=str(site.root / "calls.log")))
    guest.notify_clients()
    assert site.lines("calls.log") == [
        "woken 0A000009:03FF",
        "systemctl start --no-block atoll-tickle.service",
        "sm-notify -f",
    ]


def test_a_list_that_makes_no_sense_is_left_to_the_program(
    guest: SshGuest, site: InstanceDouble
) -> None:
    lose_connections(site, "nonsense")
    install(site, "def parse(line):\n    raise ValueError(line)\n\nsent = print\n")
    guest.notify_clients()
    assert "sm-notify -f" in site.lines("calls.log")


def test_an_older_image_has_no_such_program(guest: SshGuest, site: InstanceDouble) -> None:
    lose_connections(site, LINE)
    guest.notify_clients()
    assert "sm-notify -f" in site.lines("calls.log")
