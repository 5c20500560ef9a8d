"""An instance has ended only when its QEMU process has, whatever libvirt knows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import pytest

from atoll.cloud.local.processes import kill_if_frozen, qemu_of
from atoll.errors import InstanceMayStillRun
from harness.wait import wait

PROGRAM = "import time; print('runs', flush=True); time.sleep(600)"


@contextmanager
def process_of(instance_id: str) -> Iterator[int]:
    """A process that looks like the QEMU of an instance."""
    argv = ["qemu-system-x86_64", "-c", PROGRAM, "-uuid", instance_id]
    with subprocess.Popen(argv, executable=sys.executable, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline()
        yield process.pid
        process.kill()


def test_a_process_is_found_while_it_runs() -> None:
    instance_id = str(uuid4())
    assert qemu_of(instance_id) is None
    with process_of(instance_id) as pid:
        assert qemu_of(instance_id) == pid
        assert qemu_of(str(uuid4())) is None
    assert qemu_of(instance_id) is None


@pytest.mark.vm
@pytest.mark.long
@pytest.mark.timeout(600)
def test_an_instance_that_libvirt_has_forgotten_may_run() -> None:
    from .local_place import local_place, make_local
    from .site import running_site

    with local_place() as place:
        cloud = make_local(place, "fencing")
        with running_site(cloud) as site:
            assert qemu_of(site.instance.id)
            cloud.compute.fence_instance(site.instance.id)
            assert qemu_of(site.instance.id) is None
        forgotten = str(uuid4())
        with process_of(forgotten) as pid:
            assert cloud.compute.fencing(forgotten).state == "doubtful"
            with pytest.raises(InstanceMayStillRun, match=str(pid)):
                cloud.compute.fence_instance(forgotten)
        cloud.compute.fence_instance(forgotten)
        cloud.close()


def test_only_a_frozen_process_is_killed_at_once() -> None:
    instance_id = str(uuid4())
    with process_of(instance_id) as pid:
        kill_if_frozen(instance_id)
        assert qemu_of(instance_id) == pid
        os.kill(pid, signal.SIGSTOP)
        wait("the stop", lambda: "T (stopped)" in Path(f"/proc/{pid}/status").read_text(), 10)
        kill_if_frozen(instance_id)
        wait("the end", lambda: qemu_of(instance_id) is None, 10)
    kill_if_frozen(instance_id)
