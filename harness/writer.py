"""Runs in the client: writes and fsyncs continuously, and records errors and the longest wait.

``python3 writer.py FILE STOP_FILE`` ends when STOP_FILE appears and prints a line of JSON.
"""

import json
import os
import sys
import time

path, stop_file = sys.argv[1:]
block = os.urandom(65536)
writes = errors = 0
longest = 0.0
last_error = ""
descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
while not os.path.exists(stop_file):  # noqa: PTH110 - this supports any Python 3 in the client
    began = time.monotonic()
    try:
        os.pwrite(descriptor, block, (writes % 256) * len(block))
        os.fsync(descriptor)
        writes += 1
    except OSError as error:
        errors += 1
        last_error = str(error)
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.02)
os.close(descriptor)
print(json.dumps({"writes": writes, "errors": errors, "longest": longest, "last": last_error}))  # noqa: T201
