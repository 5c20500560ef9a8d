"""The cloud ``local``: this machine, by libvirt and QEMU.

``cloud.py`` ties it together; ``compute.py``, ``volumes.py``, ``networks.py`` and ``images.py`` are
the ports. Each thing is a directory with its record (``records.py``); volumes' bytes are qcow2
layers (``layers.py``); what libvirt is told is written by ``domain.py`` and said by ``domains.py``.
``daemon.py`` finds the machine's libvirt daemon or runs one of our own (decision record 0003).
"""

from atoll.cloud.local.cloud import LocalCloud
from atoll.cloud.local.settings import LocalSettings

__all__ = ["LocalCloud", "LocalSettings"]
