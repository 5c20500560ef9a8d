"""Runs in the client: holds a lock on a file and writes to it, or tries to get such a lock.

``python3 locker.py hold FILE STOP_FILE`` locks the file, writes a number and fsyncs it twice a
second until STOP_FILE appears, and prints a line of JSON. ``python3 locker.py try FILE`` prints
``refused`` or ``granted``.
"""

import fcntl
import json
import os
import sys
import time

verb, path = sys.argv[1:3]
descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
if verb == "try":
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("refused")  # noqa: T201
    else:
        print("granted")  # noqa: T201
    sys.exit(0)

fcntl.lockf(descriptor, fcntl.LOCK_EX)
writes = errors = 0
last_error = ""
longest = 0.0
while not os.path.exists(sys.argv[3]):  # noqa: PTH110 - this supports any Python 3 in the client
    began = time.monotonic()
    try:
        os.pwrite(descriptor, b"%d\n" % writes, 0)
        os.fsync(descriptor)
        writes += 1
    except OSError as error:
        errors += 1
        last_error = str(error)
    longest = max(longest, time.monotonic() - began)
    time.sleep(0.5)
print(json.dumps({"writes": writes, "errors": errors, "longest": longest, "last": last_error}))  # noqa: T201
