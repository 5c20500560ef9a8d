"""Runs in the client: writes and fsyncs continuously, checks it all, and records the longest wait.

``python3 writer.py FILE STOP_FILE [lock PROGRESS_FILE]`` ends when STOP_FILE appears, reads back
what it has written past the client's cache, and prints a line of JSON. ``lost`` counts blocks that
were acknowledged and are not there any more. With ``lock`` it holds a lock on the file meanwhile,
and keeps the number of writes in PROGRESS_FILE.
"""

import fcntl
import json
import os
import sys
import time
import zlib

path, stop_file = sys.argv[1:3]
SIZE, KEPT = 65536, 256
noise = os.urandom(SIZE - 16)
writes = errors = lost = 0
longest = 0.0
last_error = ""


def block(number: int) -> bytes:
    """The content that is written in this round."""
    head = b"%08x" % number
    return head + noise + b"%08x" % zlib.crc32(head + noise)


descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
progress = None
if sys.argv[3:4] == ["lock"]:
    progress = os.open(sys.argv[4], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.write(progress, b"0")
    fcntl.lockf(descriptor, fcntl.LOCK_EX)
while not os.path.exists(stop_file):  # noqa: PTH110
    began = time.monotonic()
    try:
        os.pwrite(descriptor, block(writes), (writes % KEPT) * SIZE)
        os.fsync(descriptor)
        writes += 1
        if progress is not None:
            os.pwrite(progress, b"%d" % writes, 0)
    except OSError as error:
        errors += 1
        last_error = str(error)
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.1)  # more often would take CPU time from the boot that it waits for
os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
for number in range(max(0, writes - KEPT), writes):
    lost += os.pread(descriptor, SIZE, (number % KEPT) * SIZE) != block(number)
os.close(descriptor)
print(  # noqa: T201
    json.dumps(
        {
            "writes": writes,
            "errors": errors,
            "lost": lost,
            "longest": round(longest, 2),
            "last": last_error,
        }
    )
)
