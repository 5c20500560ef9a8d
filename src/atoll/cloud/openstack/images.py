"""Service images in Glance: found by tag, newest first, never by a name that others may use."""

from __future__ import annotations

from enum import StrEnum, auto
from pathlib import Path
from typing import Final
from uuid import UUID

from atoll.cloud.base import Image
from atoll.cloud.openstack import shapes
from atoll.cloud.openstack.api import Api, Json
from atoll.cloud.openstack.shapes import checked, whole_ones
from atoll.errors import CloudError, CloudNotFound

CHECKSUM = "atoll_checksum"
PROPERTIES = {
    # Disks have their volume's whole id as serial, and may be more than 26.
    "hw_scsi_model": "virtio-scsi",
    "hw_disk_bus": "scsi",
    "hw_cdrom_bus": "scsi",  # for the config drive: the image's kernel has no IDE or SATA driver
    "hw_vif_model": "virtio",
    "hw_rng_model": "virtio",
    "hw_watchdog_action": "reset",  # of an instance whose kernel hangs
    "os_type": "linux",
    "os_distro": "debian",
}


class ImageStatus(StrEnum):
    """Glance's words for the status of an image, as far as Atoll uses them."""

    QUEUED = auto()
    SAVING = auto()
    ACTIVE = auto()
    KILLED = auto()


_CUT_SHORT: Final = frozenset({ImageStatus.QUEUED, ImageStatus.SAVING, ImageStatus.KILLED})
"""Statuses of an image whose upload was interrupted."""


class GlanceImages:
    """Implements ``Images``. ``wanted`` is the tag of Atoll's images, or the id of one image."""

    def __init__(self, api: Api, wanted: str) -> None:
        self._api = api
        self._wanted = wanted

    def service_image(self) -> Image:
        """The image to boot. ``CloudNotFound``, with what to do, when there is none."""
        found = self._by_id() if _is_id(self._wanted) else self._newest()
        if found is None or found["status"] != ImageStatus.ACTIVE:
            raise CloudNotFound(
                f"Glance has no active image with the tag {self._wanted!r}.",
                hint="Run: atoll image upload",
            )
        return _image(found)

    def upload(self, path: Path, checksum: str) -> Image:
        """Upload the file, unless there is an image with this checksum (that of the build)."""
        for found in self._tagged():
            if found.get(CHECKSUM) == checksum:
                if found["status"] == ImageStatus.ACTIVE:
                    return _image(found)
                if found["status"] not in _CUT_SHORT:
                    raise CloudError(
                        f"Glance has this image already, with the status {found['status']!r}.",
                        hint=f"Activate the image {found['id']} again, or delete it.",
                    )
                self._api.delete(f"/images/{found['id']}")
        wish = {
            "name": f"{self._wanted}-{checksum[:12]}",
            "tags": [self._wanted],
            "disk_format": "qcow2",
            "container_format": "bare",
            "visibility": "private",
            CHECKSUM: checksum,
            **PROPERTIES,
        }
        made = self._api.post("/images", wish)
        with path.open("rb") as content:
            self._api.upload(f"/images/{made['id']}/file", content)
        return _image(self._api.get(f"/images/{made['id']}"))

    def _by_id(self) -> Json | None:
        found = self._api.find(f"/images/{self._wanted}")
        return checked(shapes.Image, found) if found is not None else None

    def _newest(self) -> Json | None:
        return next(
            (found for found in self._tagged() if found["status"] == ImageStatus.ACTIVE), None
        )

    def _tagged(self) -> list[Json]:
        query = {"tag": self._wanted, "sort": "created_at:desc"}
        return list(whole_ones(shapes.Image, self._api.list("/images", "images", **query)))


def _is_id(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True


def _image(found: Json) -> Image:
    return Image(
        found["id"], found["name"] or "", str(found.get(CHECKSUM) or found.get("checksum") or "")
    )
