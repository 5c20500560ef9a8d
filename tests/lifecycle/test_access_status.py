"""The state of a share's rules as a whole, while users request more."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from uuid import uuid4

import pytest

from atoll.db import access_rules, share_types, shares
from atoll.db.database import Database
from atoll.lifecycle import access
from atoll.model.states import RulesStatus, RuleState
from tests.api.scene import add_share

pytestmark = pytest.mark.both_databases


def test_a_rule_that_is_requested_meanwhile_keeps_the_share_syncing(database: Database) -> None:
    """On PostgreSQL the status was derived from rules that were read before the new one."""
    with database.begin() as connection:
        share_types.create(connection, "default", {"driver_handles_share_servers": "True"})
    share_id = add_share(database, "blue")

    def settle() -> None:
        with database.begin() as connection:
            access.show_status(connection, share_id)

    with ThreadPoolExecutor(1) as worker:
        with database.begin() as connection:  # a user's request
            access_rules.add(
                connection,
                id=str(uuid4()),
                share_id=share_id,
                access_type="ip",
                access_to="10.0.0.1",
                access_level="rw",
                state=RuleState.QUEUED_TO_APPLY,
                metadata={},
            )
            shares.change(connection, share_id, access_rules_status=RulesStatus.SYNCING)
            settling = worker.submit(settle)
            time.sleep(0.5)
        settling.result(10)
    with database.read() as connection:
        assert shares.require(connection, share_id)["access_rules_status"] == RulesStatus.SYNCING
