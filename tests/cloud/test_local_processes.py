"""A QEMU process is found by its instance, even if libvirt has forgotten it."""

from __future__ import annotations

import subprocess
import sys
from uuid import uuid4

from atoll.cloud.local.processes import qemu_of


def test_a_process_is_found_while_it_runs() -> None:
    instance_id = str(uuid4())
    assert qemu_of(instance_id) is None
    program = "import time; print('runs', flush=True); time.sleep(600)"
    argv = ["qemu-system-x86_64", "-c", program, "-uuid", instance_id]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        assert qemu_of(instance_id) == process.pid
        assert qemu_of(str(uuid4())) is None
        process.kill()
    assert qemu_of(instance_id) is None
