"""Asks an instance's NFS server for a sign of life: the procedure that does nothing (RFC 5531)."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from typing import Final

NFS_PORT: Final = 2049
_CALL, _REPLY = 0, 1
_NFS, _VERSION_3, _NULL = 100003, 3, 0


def nfs_answers(address: str, seconds: float = 1.0, port: int = NFS_PORT) -> bool:
    """Whether an NFS server at this address answers within some seconds.

    The kernel answers, also while the programs of the instance hang or wait for memory.
    """
    number = os.urandom(4)
    call = number + struct.pack(">9L", _CALL, 2, _NFS, _VERSION_3, _NULL, 0, 0, 0, 0)
    last_fragment = 1 << 31
    with contextlib.suppress(OSError):
        with socket.create_connection((address, port), seconds) as connection:
            connection.settimeout(seconds)
            connection.sendall(struct.pack(">L", last_fragment | len(call)) + call)
            answer = connection.recv(64)
        return answer[4:12] == number + struct.pack(">L", _REPLY)
    return False
