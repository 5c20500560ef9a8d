"""Builds the service image: the small Linux that every service instance boots.

``build_image`` builds it or finds it in the cache, ``list_requirements`` names the apt packages
that a build needs, and ``seed_iso`` writes the CD with an instance's identity. The contents of the
image are in ``files/``.
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
