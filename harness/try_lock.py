"""Runs in the client: tries to lock each file, and prints ``refused`` or ``granted`` for each.

``python3 try_lock.py FILE…``
"""

import fcntl
import os
import sys

for path in sys.argv[1:]:
    descriptor = os.open(path, os.O_RDWR)
    try:
        fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        print("refused")  # noqa: T201
    else:
        print("granted")  # noqa: T201
