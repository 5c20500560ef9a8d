"""Where ``local`` is tested: a directory that QEMU's user can reach, and a daemon of our own."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from atoll.cloud.local import LocalCloud, LocalSettings
from atoll.image import build_image

IMAGE_CACHE = Path("/var/cache/atoll/images")


def service_image() -> Path:
    """The image that ``ATOLL_TEST_IMAGE`` names, else the machine's, built if need be."""
    named = os.environ.get("ATOLL_TEST_IMAGE")
    return Path(named) if named else build_image(IMAGE_CACHE).path


def make_local(
    place: Path,
    deployment: str,
    *,
    service_network: str = "10.253.0.0/24",
    share_networks: str = "10.86.0.0/16",
) -> LocalCloud:
    """A cloud with address ranges that no other deployment uses by default."""
    settings = LocalSettings(
        place,
        image=service_image(),
        service_network_cidr=service_network,
        share_network_pool=share_networks,
        reserved_gib=0.5,
        max_over_subscription_ratio=100,
    )
    return LocalCloud(deployment, settings)


@contextmanager
def local_place() -> Iterator[Path]:
    """A state directory; in the end nothing of it is left, and no daemon."""
    directory = Path(tempfile.mkdtemp(prefix="atoll-test-", dir="/var/tmp"))
    directory.chmod(0o711)
    try:
        yield directory
    finally:
        for found in sorted(directory.glob("local/*/instances")):
            cloud = LocalCloud(found.parent.name, LocalSettings(directory))
            cloud.purge()
        shutil.rmtree(directory)
