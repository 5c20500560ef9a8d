"""The cloud ``local``: this machine, by libvirt and QEMU.

``cloud.py`` ties it together; ``compute.py``, ``volumes.py``, ``networks.py`` and ``images.py`` are
the ports. Each thing is a directory with its record (``records.py``). Volumes' data are in qcow2
layers (``layers.py``). ``domain.py`` writes libvirt's XML and ``domains.py`` calls libvirt.
``daemon.py`` finds the machine's libvirt daemon or runs one of our own (decision record 0003).
"""

from atoll.cloud.local.cloud import LocalCloud
from atoll.cloud.local.settings import LocalSettings

__all__ = ["LocalCloud", "LocalSettings"]
