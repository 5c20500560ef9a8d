"""Requests that meet: each promise holds however many ask at once."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from atoll.db import share_networks, subnets
from atoll.db.database import Database
from atoll.db.tables import quotas
from tests.api.conftest import Client
from tests.api.scene import add_share, add_snapshot

AT_ONCE = 12


def together(*calls: Callable[[], int]) -> Counter[int]:
    with ThreadPoolExecutor(len(calls)) as pool:
        return Counter(future.result() for future in [pool.submit(call) for call in calls])


def test_quota_is_never_overshot(database: Database, member: Client) -> None:
    with database.begin() as connection:
        network_id = share_networks.create(connection, "blue", "blue-user")
        subnets.create(connection, network_id)
        limit = {"project_id": "blue", "user_id": "", "share_type_id": ""}
        connection.execute(quotas.insert().values(**limit, resource="shares", hard_limit=5))
    wish = {"share": {"share_proto": "NFS", "size": 1, "share_network_id": network_id}}
    codes = together(*[lambda: member("POST", "/shares", wish).status_code] * AT_ONCE)
    assert codes == {200: 5, 413: AT_ONCE - 5}
    assert len(member.get("/shares")["shares"]) == 5


def test_one_rule_for_one_client(database: Database, member: Client) -> None:
    share_id = add_share(database, "blue")
    rule = {"allow_access": {"access_type": "ip", "access_to": "10.0.0.1"}}
    path = f"/shares/{share_id}/action"
    codes = together(*[lambda: member("POST", path, rule).status_code] * AT_ONCE)
    assert codes == {200: 1, 400: AT_ONCE - 1}


def test_metadata_of_all_is_kept(database: Database, member: Client) -> None:
    share_id = add_share(database, "blue")
    path = f"/shares/{share_id}/metadata"

    def set_key(key: str) -> Callable[[], int]:
        return lambda: member("POST", path, {"metadata": {key: "1"}}).status_code

    keys = {f"key-{number}" for number in range(AT_ONCE)}
    assert together(*map(set_key, sorted(keys))) == {200: AT_ONCE}
    assert set(member.get(path)["metadata"]) == keys


def test_a_share_is_not_deleted_under_its_new_snapshot(database: Database, member: Client) -> None:
    for _ in range(4):
        share_id = add_share(database, "blue")
        body = {"snapshot": {"share_id": share_id}}
        together(
            lambda body=body: member("POST", "/snapshots", body).status_code,  # type: ignore[misc]
            lambda path=f"/shares/{share_id}": member("DELETE", path).status_code,  # type: ignore[misc]
        )
        made = member.get(f"/snapshots?share_id={share_id}")["snapshots"]
        deleted = member.get(f"/shares/{share_id}")["share"]["status"] == "deleting"
        assert bool(made) != deleted


def test_a_snapshot_is_not_deleted_under_its_new_share(database: Database, member: Client) -> None:
    for _ in range(4):
        parent = add_share(database, "blue")
        snapshot_id = add_snapshot(database, "blue", parent, 1)
        wish = {"share": {"share_proto": "NFS", "size": 1, "snapshot_id": snapshot_id}}
        codes = together(
            lambda wish=wish: member("POST", "/shares", wish).status_code,  # type: ignore[misc]
            lambda path=f"/snapshots/{snapshot_id}": member("DELETE", path).status_code,  # type: ignore[misc]
        )
        assert codes in ({200: 1, 409: 1}, {400: 1, 202: 1})
