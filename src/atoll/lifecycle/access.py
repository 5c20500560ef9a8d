"""Applies the access rules of a share.

An operation applies all rules that were requested before it started. Rules that are requested
meanwhile mark the operation ``again`` and are applied by its next run. The states are Manila's:
``queued_to_apply → applying → active | error``, ``queued_to_deny → denying → gone``,
``queued_to_update → updating → active | error``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from sqlalchemy import Connection

from atoll.db import access_rules, shares
from atoll.db.messages import Action, Detail, Resource
from atoll.driver.generic import GenericShareDriver
from atoll.driver.resources import RuleUpdate
from atoll.engine.operation import Operation
from atoll.lifecycle import hold
from atoll.lifecycle.backend import Backend
from atoll.lifecycle.message import sentence, tell
from atoll.model.records import AccessRule, Share, ShareServer
from atoll.model.states import (
    RULES_IN_HAND,
    RULES_SERVED,
    RULES_TO_APPLY,
    RULES_TO_DENY,
    RULES_TO_UPDATE,
    UNSETTLED_RULES,
    RulesStatus,
    RuleState,
)


def applied(connection: Connection, share_id: str) -> list[AccessRule]:
    """The rules that the share should be served with: requested, and not in error."""
    rules = access_rules.of_share(connection, share_id)
    return [rule for rule in rules if rule["state"] in RULES_SERVED]


def pending(connection: Connection, share_id: str) -> bool:
    """Whether rules wait to be applied, changed or denied."""
    return any(
        rule["state"] in UNSETTLED_RULES for rule in access_rules.of_share(connection, share_id)
    )


def sync(
    backend: Backend,
    operation: Operation,
    driver: GenericShareDriver,
    share: Share,
    server: ShareServer | None,
) -> bool:
    """Apply the requested changes of rules; False if there are none.

    A crash after the driver's work and before the states are written leaves rules ``applying`` or
    ``denying``. The next run passes them to the driver again, which the contract allows.
    """
    with operation.transaction() as connection:
        rules = access_rules.of_share(connection, share["id"])
        work = [rule for rule in rules if rule["state"] in UNSETTLED_RULES]
        if not work:
            return False
        access_rules.start(connection, share["id"])
    serve = hold.rules_to_serve(backend.database, driver, share, server, rules)
    updates = driver.update_access(
        operation,
        share,
        access_rules=serve,
        add_rules=[rule for rule in work if rule["state"] in RULES_TO_APPLY],
        delete_rules=[rule for rule in work if rule["state"] in RULES_TO_DENY],
        update_rules=[rule for rule in work if rule["state"] in RULES_TO_UPDATE],
        share_server=server,
    )
    with operation.transaction() as connection:
        mine = {rule["id"] for rule in work}
        refused = {key: update for key, update in (updates or {}).items() if key in mine}
        _settle(connection, share, operation, work, refused)
    return True


def _settle(
    connection: Connection,
    share: Share,
    operation: Operation,
    work: Sequence[AccessRule],
    updates: Mapping[str, RuleUpdate],
) -> None:
    refused = {key for key, update in updates.items() if update["state"] == RuleState.ERROR}
    denied = [rule["id"] for rule in work if rule["state"] in RULES_TO_DENY]
    asked = [rule["id"] for rule in work if rule["state"] not in RULES_TO_DENY]
    access_rules.finish(
        connection,
        removed=denied,
        active=[key for key in asked if key not in refused],
        failed=[key for key in asked if key in refused],
    )
    for key in refused:
        _tell(
            connection,
            share,
            operation,
            updates[key]["reason"],
        )
    show_status(connection, share["id"])


def show_status(connection: Connection, share_id: str) -> None:
    """Derive ``access_rules_status`` of the share from its rules."""
    # A request that adds a rule changes the share in the same transaction. Without the lock, the
    # rule could be committed after the rules are read here, and its ``syncing`` be overwritten.
    shares.lock(connection, share_id)
    states = {rule["state"] for rule in access_rules.of_share(connection, share_id)}
    status = RulesStatus.ERROR if RuleState.ERROR in states else RulesStatus.ACTIVE
    if states & set(UNSETTLED_RULES):
        status = RulesStatus.SYNCING
    shares.change(connection, share_id, access_rules_status=status)


def give_up(connection: Connection, share: Share, operation: Operation, error: Exception) -> None:
    """Mark the rules that were being applied ``error``, as the contract requires.

    If there are none, a repair of the share has failed. The next reconcile pass tries again, but
    the user is told.
    """
    failed = [
        rule["id"]
        for rule in access_rules.of_share(connection, share["id"])
        if rule["state"] in RULES_IN_HAND
    ]
    if failed:
        access_rules.finish(connection, removed=[], active=[], failed=failed)
        _tell(connection, share, operation, sentence(operation, error))
    else:
        text = f"The share can't be served at the moment. {sentence(operation, error)}"
        tell(connection, operation, share, Resource.SHARE, Action.UPDATE, text)
    show_status(connection, share["id"])


def _tell(connection: Connection, share: Share, operation: Operation, text: str) -> None:
    action, detail = Action.UPDATE_ACCESS_RULES, Detail.UNSUPPORTED_CLIENT_ACCESS
    tell(connection, operation, share, Resource.SHARE, action, text, detail)
