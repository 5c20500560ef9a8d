"""A simulated cloud: for development, simulation of large sites, and fault injection.

``cloud.py`` is the whole; ``compute.py``, ``volumes.py`` and ``networks.py`` implement the ports,
``guest.py`` the guest agent of a simulated instance, ``client.py`` a user's machine that mounts.
All state is in ``world.py``'s SQLite file. Every call passes ``gate.py``, where ``journal.py``
records it and ``faults.py`` injects faults.
"""

from atoll.cloud.memory.client import MemoryClient, Mount
from atoll.cloud.memory.cloud import Disk, MemoryCloud
from atoll.cloud.memory.faults import Fault, Faults
from atoll.cloud.memory.guest import MemoryGuest
from atoll.cloud.memory.journal import Call, Journal

__all__ = [
    "Call",
    "Disk",
    "Fault",
    "Faults",
    "Journal",
    "MemoryClient",
    "MemoryCloud",
    "MemoryGuest",
    "Mount",
]
