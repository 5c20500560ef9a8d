"""Files, locks and programs of the service instance, for the other modules of the agent."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(os.environ.get("ATOLL_AGENT_ROOT", "/"))
"""Where the system's folders are. Only tests change it."""
RUN = ROOT / "run/atoll"
SYS = ROOT / "sys"
NFSD = ROOT / "proc/fs/nfsd"

ENVIRONMENT = {
    **os.environ,
    "LC_ALL": "C",
    "PATH": os.environ.get("PATH", "/usr/bin:/bin") + ":/usr/sbin:/sbin",
}
ANY_STATUS = tuple(range(-64, 256))
URGENT = -10
"""Niceness of the agent and of its quick programs. They have priority over the last services of the
boot, and over udev's work on new disks, which doubled the time on one CPU."""


class AgentError(Exception):
    """An error that is sent as the answer: a code for programs and a message for people."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class Deadline:
    """The time until which the caller waits."""

    def __init__(self, seconds: float) -> None:
        self.end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds left. Raises ``AgentError`` (deadline) if there are none."""
        left = self.end - time.monotonic()
        if left <= 0:
            raise AgentError("deadline", "Not finished in time.")
        return left


def read(path: Path, default: str = "") -> str:
    """The text of a small file, or ``default`` if it can't be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return default


def tell(path: Path, text: str) -> None:
    """Write to a control file of the kernel. Errors are ignored."""
    with contextlib.suppress(OSError):
        path.write_text(text)


def write(path: Path, text: str) -> None:
    """Replace a file atomically, unless it has this text already."""
    if read(path, "\0") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.{os.getpid()}.{threading.get_ident()}.new")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    sync_folder(path.parent)


def remove(path: Path) -> None:
    """Delete a file, which may be absent."""
    with contextlib.suppress(FileNotFoundError):
        path.unlink()
        sync_folder(path.parent)


def link(path: Path, target: str) -> None:
    """Make a symbolic link, unless there is one already."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with contextlib.suppress(FileExistsError):
        path.symlink_to(target)
        sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make a rename or a deletion in ``folder`` durable."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def locked(name: str, deadline: Deadline) -> Iterator[int]:
    """Hold a lock that all agents of this instance share, and that ``run`` can give to programs."""
    RUN.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = os.open(RUN / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
    try:
        while True:
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            if time.monotonic() >= deadline.end:
                raise AgentError("deadline", f"{name} is still being worked on.")
            time.sleep(0.02)
        yield handle
    finally:
        os.close(handle)


def run(
    argv: list[str],
    deadline: Deadline,
    *,
    ok: tuple[int, ...] = (0,),
    keep: int | None = None,
    lengthy: bool = False,
) -> tuple[int, str]:
    """Run a program; return its exit status and output. Raises if the status is not in ``ok``.

    ``keep`` is the share's lock, for a program that writes to the device. The program inherits the
    lock and is never killed. It may outlive the deadline and even the agent, and the device is not
    used otherwise until it has ended. A ``lengthy`` program, whose time grows with the amount of
    data, runs without the agent's priority.
    """
    # The output is not a pipe, because the program may outlive its reader.
    with os.fdopen(os.memfd_create("output"), "w+b") as output:
        try:
            process = subprocess.Popen(
                argv,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env=ENVIRONMENT,
                pass_fds=() if keep is None else (keep,),
                start_new_session=True,
            )
        except OSError as error:
            raise AgentError("failed", f"{argv[0]}: {error.strerror}") from None
        if lengthy:
            with contextlib.suppress(ProcessLookupError):
                os.setpriority(os.PRIO_PROCESS, process.pid, 0)
        try:
            status = process.wait(deadline.left())
        except subprocess.TimeoutExpired:
            if keep is None:
                process.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):  # it may hang in the kernel
                    process.wait(1)
            raise AgentError("deadline", f"{argv[0]} did not finish in time.") from None
        output.seek(0)
        words = output.read(4 * 1024 * 1024).decode("utf-8", "replace").strip()
    if status not in ok:
        raise AgentError("failed", f"{' '.join(argv)}: exit status {status}: {words[-1000:]}")
    return status, words
