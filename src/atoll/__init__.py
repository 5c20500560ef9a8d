"""Atoll: self-service shared file systems.

Start reading at ``lifecycle/share.py`` and ``driver/generic.py``.
"""

__version__ = "0.2.0"
