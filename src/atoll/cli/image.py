"""``atoll image``: the service image, on this machine and in Glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from atoll.cli.progress import phases, working
from atoll.config import Settings

if TYPE_CHECKING:
    from atoll.cloud.base import Image
    from atoll.image import BuiltImage


def ensure_image(settings: Settings, console: Console) -> None:
    """Build the service image unless one is configured or cached."""
    if settings.local.service_image is None:
        build(settings, console)


def build(settings: Settings, console: Console, *, fresh: bool = False) -> BuiltImage:
    """Build the image, or find it in the cache unless it must be ``fresh``; show progress."""
    from atoll.image import build_image, find_image

    cached = find_image(settings.local.image_cache)
    if cached is not None and not fresh:
        return cached
    with phases(console, "Building the service image", "image") as show:
        return build_image(settings.local.image_cache, progress=show, force=fresh)


def upload(settings: Settings, console: Console) -> Image:
    """Build the image if necessary, and upload it to Glance unless Glance has it already."""
    from atoll.cli.clouds import open_openstack

    built = build(settings, console)
    cloud = open_openstack(settings, "")
    with working(console, "Uploading the service image"):
        return cloud.images.upload(built.path, built.checksum)
