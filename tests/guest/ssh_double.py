"""A double of ssh: it runs the remote command here, with the agent's system folders below argv[1].

Where argv[2] is a number, it waits so many seconds first, as a slow instance does.
"""

import os
import shlex
import sys
import time

root, delay, command = sys.argv[1], float(sys.argv[2]), shlex.split(sys.argv[-1])
os.environ["ATOLL_AGENT_ROOT"] = root
time.sleep(delay)
if command[:2] == ["sudo", "-n"]:
    command = command[2:]
os.execvp(command[0], command)
