"""Name and description in bodies: Manila says ``display_name``, and some clients ``name``."""

from __future__ import annotations

import msgspec
from msgspec import UNSET, UnsetType

from atoll.api.frame.bodies import Name
from atoll.model import records


class NewTexts(msgspec.Struct, kw_only=True):
    """Of a resource that is created."""

    name: Name | None = None
    display_name: Name | None = None
    description: Name | None = None
    display_description: Name | None = None

    def texts(self) -> records.Texts:
        """The name and the description, which may be None."""
        described = self.display_description if self.description is None else self.description
        return {
            "name": self.display_name if self.name is None else self.name,
            "description": described,
        }


class ChangedTexts(msgspec.Struct, kw_only=True):
    """Of a resource that is changed."""

    display_name: Name | UnsetType | None = UNSET
    display_description: Name | UnsetType | None = UNSET
    name: Name | UnsetType | None = UNSET
    description: Name | UnsetType | None = UNSET

    def texts(self) -> records.Texts:
        """The new name and description, as far as they were given."""
        name = self.name if self.display_name is UNSET else self.display_name
        described = self.display_description
        if described is UNSET:
            described = self.description
        changes: records.Texts = {}
        if name is not UNSET:
            changes["name"] = name
        if described is not UNSET:
            changes["description"] = described
        return changes
