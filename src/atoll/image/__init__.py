"""Builds the service image: the small Linux that every service instance boots.

``build_image`` makes (or finds) it, ``list_requirements`` names the apt packages that this
takes, ``seed_iso`` writes the CD that tells one instance who it is. What is inside the
image is under ``files/``.
"""

from atoll.image.build import BuiltImage, Progress, build_image, find_image
from atoll.image.commands import list_requirements
from atoll.image.seed import seed_iso

__all__ = [
    "BuiltImage",
    "Progress",
    "build_image",
    "find_image",
    "list_requirements",
    "seed_iso",
]
