"""One of each resource that the API shows, and the ids by which the OpenAPI document's paths name
them."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

from sqlalchemy import select

from atoll.db.database import Database
from atoll.db.tables import access_rules, export_locations, messages, share_types, snapshots
from tests import rows
from tests.api import scene
from tests.api.conftest import Client

METADATA = {"team": "blue"}
SPEC = "driver_handles_share_servers"


@dataclass(frozen=True)
class Known:
    """Ids of things that are there."""

    ids: dict[str, str]

    def in_path(self, path: str) -> dict[str, str]:
        """Values of the path's parameters."""
        found = {name: value for name, value in self.ids.items() if f"{{{name}}}" in path}
        if "{key}" in path:
            found["key"] = SPEC if "extra_specs" in path else next(iter(METADATA))
        return found


def one_of_each(database: Database, admin: Client) -> Known:
    """Add one of each in the administrator's project."""
    project = admin.project_id
    made = admin("POST", "/share-networks", {"share_network": {"name": "here"}})
    assert made.status_code == 200, made.text
    network = made.json["share_network"]
    subnet_id = network["share_network_subnets"][0]["id"]
    server_id = scene.add_server(database, project, subnet_id)
    share_id = scene.add_share(
        database,
        project,
        share_network_id=network["id"],
        metadata=METADATA,
        host="here@memory#pool",
    )
    snapshot_id = scene.add_snapshot(database, project, share_id, 1)
    rule_id, location_id, message_id = (str(uuid4()) for _ in range(3))
    with database.begin() as connection:
        rows.change(connection, snapshots, snapshot_id, metadata=METADATA)
        type_id = connection.execute(select(share_types.c.id)).scalars().first()
        rows.add(
            connection,
            access_rules,
            id=rule_id,
            share_id=share_id,
            access_type="ip",
            access_to="10.0.0.1",
            access_level="rw",
            state="active",
            metadata=METADATA,
        )
        rows.add(
            connection,
            export_locations,
            id=location_id,
            share_id=share_id,
            path="10.0.0.2:/shares/one",
            preferred=True,
            is_admin_only=False,
        )
        rows.add(
            connection,
            messages,
            id=message_id,
            project_id=project,
            resource_type="SHARE",
            resource_id=share_id,
            action_id="001",
            detail_id="001",
            message_level="ERROR",
            user_message="allocate host: No storage could be allocated.",
            expires_at="2036-01-01T00:00:00.000000",
        )
    return Known(
        {
            "share_id": share_id,
            "snapshot_id": snapshot_id,
            "network_id": network["id"],
            "share_network_id": network["id"],
            "subnet_id": subnet_id,
            "server_id": server_id,
            "type_id": str(type_id),
            "access_id": rule_id,
            "location_id": location_id,
            "message_id": message_id,
            "project_id": project,
            "class_name": "default",
        }
    )
