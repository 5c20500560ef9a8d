"""NFS 4.0 clients that keep no state, for a test: each address looks a path up when it is told to.

Runs in a service instance. ``argv``: the server's address and the addresses of the clients. Reads
``burst PATH SECONDS`` (each client looks once, at a random moment within that time; answered at
once) and ``check PATH`` (each looks once, one after the other; answered by all statuses).
"""

from __future__ import annotations

import random
import socket
import struct
import sys
import threading
import time

PUTROOTFH, LOOKUP = 24, 15
server, addresses = sys.argv[1], sys.argv[2:]


def say(*words: object) -> None:
    """Answer in one line."""
    sys.stdout.write(" ".join(str(word) for word in words) + "\n")
    sys.stdout.flush()


def text(value: bytes) -> bytes:
    """Return a string as XDR has it."""
    return struct.pack(">I", len(value)) + value + b"\0" * (-len(value) % 4)


class Client:
    """One address, whose connection comes from a port that only root can have."""

    def __init__(self, address: str) -> None:
        for port in random.sample(range(512, 1023), 511):
            self.socket = socket.socket()
            self.socket.settimeout(60)
            try:
                self.socket.bind((address, port))
                self.socket.connect((server, 2049))
            except OSError:
                self.socket.close()
            else:
                return
        raise SystemExit(f"{address} can't connect")

    def look(self, path: str) -> int:
        """Return what the server says of the path: 0 if it is there for this client."""
        parts = [part.encode() for part in path.strip("/").split("/")]
        operations = struct.pack(">I", PUTROOTFH)
        operations += b"".join(struct.pack(">I", LOOKUP) + text(part) for part in parts)
        credential = text(struct.pack(">I", 0) + text(b"c") + struct.pack(">III", 0, 0, 0))
        call = struct.pack(">IIIIIII", 1, 0, 2, 100003, 4, 1, 1) + credential
        call += struct.pack(">II", 0, 0) + text(b"") + struct.pack(">II", 0, 1 + len(parts))
        call += operations
        self.socket.sendall(struct.pack(">I", 0x80000000 | len(call)) + call)
        answer = self.take(struct.unpack(">I", self.take(4))[0] & 0x7FFFFFFF)
        if answer[8:12] != b"\0" * 4:
            return 1000  # refused as a whole: no client that the server knows
        verifier = struct.unpack(">I", answer[16:20])[0]
        accepted, status = struct.unpack(">II", answer[20 + verifier : 28 + verifier])
        return int(2000 + accepted if accepted else status)

    def take(self, size: int) -> bytes:
        """Read so many bytes."""
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise SystemExit("the server has hung up")
            data += more
        return data


def look_later(client: Client, path: str, seconds: float) -> None:
    """Look once within this time."""
    time.sleep(random.uniform(0, seconds))
    client.look(path)


clients = [Client(address) for address in addresses]
threads: list[threading.Thread] = []
say("ready")
for line in sys.stdin:
    order, path, *rest = line.split()
    for thread in threads:
        thread.join()
    threads = []
    if order == "burst":
        for client in clients:
            arguments = (client, path, float(rest[0]))
            threads.append(threading.Thread(target=look_later, args=arguments))
        for thread in threads:
            thread.start()
        say("started")
    else:
        say(*(client.look(path) for client in clients))
