"""Whether this machine's KVM actually runs guests.

That the device can be opened is no proof. Nested under some hypervisors, ``/dev/kvm`` works, but
each instruction of a guest is emulated, about half a million a second, so that a kernel never
finishes unpacking itself. Therefore a guest of one boot sector is run, which switches to long mode,
counts to a hundred million, and exits by the debug-exit port. Real KVM, and also TCG, need a
fraction of a second. The result is kept for this kernel, QEMU and boot.
"""

from __future__ import annotations

import os
import pwd
import subprocess
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Literal

import msgspec

from atoll.cloud.local.records import write_file
from atoll.cloud.program import run
from atoll.errors import CloudError

Acceleration = Literal["kvm", "tcg"]

EMULATOR = "qemu-system-x86_64"
PROBE_SECONDS = 8.0
_SUCCESS = 33
"""QEMU's exit status after the guest has written 16 to its debug-exit port: 2 x 16 + 1."""

_CODE = bytes.fromhex(
    "fa 31c0 8ed8 8ec0 0f0116b07c"  # cli; ds = es = 0; lgdt [0x7cb0]
    "0f20c0 0c01 0f22c0 ea197c0800"  # cr0 |= 1; jmp 8:0x7c19, now in protected mode
    "66b81000 8ed8 8ec0 8ed0 fc"  # ds = es = ss = 16
    "bf00100000 0f22df 31c0 b9000c0000 f3ab"  # cr3 = 0x1000; three empty page tables
    "c7050010000003200000 c7050020000003300000 c7050030000083000000"  # 2 MiB, mapped as they are
    "0f20e0 0c20 0f22e0 b9800000c0 0f32 80cc01 0f30"  # cr4 |= PAE; efer |= LME
    "0f20c0 0d00000080 0f22c0 ea797c00001800"  # cr0 |= PG; jmp 24:0x7c79, now in long mode
    "b900e1f505 e2fe"  # a hundred million times round
    "baf4000000 b010 ee f4 ebfd"  # out 0xf4, 16; hlt, for ever
    "0f1f440000"  # (padding)
    "0000000000000000 ffff0000009acf00 ffff00000092cf00 ffff0000009aaf00"  # descriptors
    "1f00907c0000"  # at 0x7cb0: the table's size and place
)
BOOT_SECTOR = _CODE.ljust(510, b"\0") + b"\x55\xaa"


class _Answer(msgspec.Struct):
    key: str
    acceleration: Acceleration


def acceleration(memory: Path) -> Acceleration:
    """What to run guests with. It is tested once, and kept in the file ``memory``."""
    key = _key()
    try:
        answer = msgspec.json.decode(memory.read_bytes(), type=_Answer)
    except (FileNotFoundError, msgspec.MsgspecError):
        answer = None
    if answer is None or answer.key != key:
        answer = _Answer(key, "kvm" if kvm_works() else "tcg")
        write_file(memory, msgspec.json.encode(answer))
    return answer.acceleration


def kvm_works(device: Path = Path("/dev/kvm")) -> bool:
    """Run a guest under KVM. It takes up to ``PROBE_SECONDS`` if the guest hangs."""
    return device.exists() and probe("kvm", "host")


def probe(accelerator: str, cpu: str) -> bool:
    """Whether a guest of one boot sector runs to its end."""
    with tempfile.NamedTemporaryFile(suffix=".img") as disk:
        disk.write(BOOT_SECTOR.ljust(1 << 20, b"\0"))
        disk.flush()
        argv = [EMULATOR, "-nodefaults", "-no-user-config", "-display", "none"]
        argv += ["-machine", "q35", "-m", "64", "-accel", accelerator, "-cpu", cpu]
        argv += ["-device", "isa-debug-exit,iobase=0xf4,iosize=0x01"]
        argv += ["-drive", f"file={disk.name},format=raw,if=ide"]
        user = _qemu_account()
        if user is not None:
            os.chown(disk.name, user.pw_uid, user.pw_gid)
        try:
            done = subprocess.run(
                argv,
                capture_output=True,
                timeout=PROBE_SECONDS,
                check=False,
                user=user and user.pw_uid,
                group=user and user.pw_gid,
                extra_groups=user and os.getgrouplist(user.pw_name, user.pw_gid),
            )
        except (subprocess.TimeoutExpired, FileNotFoundError):
            return False
        return done.returncode == _SUCCESS


def _qemu_account() -> pwd.struct_passwd | None:
    """The user that libvirt runs QEMU as, who must be able to use KVM.

    None is this process's user.
    """
    for name in ("libvirt-qemu", "qemu") if os.geteuid() == 0 else ():
        with suppress(KeyError):
            return pwd.getpwnam(name)
    return None


def emulator_version() -> str:
    """QEMU's version. Raises ``CloudError`` if it is not installed."""
    lines = run([EMULATOR, "--version"], seconds=10).splitlines()
    return lines[0] if lines else ""


def _key() -> str:
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    try:
        emulator = emulator_version()
    except CloudError:
        emulator = "none"
    return f"{os.uname().release} {emulator} {boot}"
