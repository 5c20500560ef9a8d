"""A double of ssh to an instance that somebody has broken into: it answers as argv[1] says.

argv[1] is a Python expression, worked out for each request with ``id``: bytes to answer with.
"""

import json
import os
import sys

HELLO = b'{"hello": {"protocol": 1, "boot_id": "4dd1c9c1-a5a3"}}\n'
source = sys.stdin.buffer
for _ in range(2):  # the agent, as it is sent
    source.read(int(source.readline()))
answer = compile(sys.argv[1], "answer", "eval")
os.write(1, HELLO)
for line in source:
    request = json.loads(line)
    words = eval(answer, {"id": request["id"], "args": request["args"], "os": os})
    while words:
        words = words[os.write(1, words) :]
