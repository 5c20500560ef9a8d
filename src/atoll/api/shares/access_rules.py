"""Access rules: allow, deny, list, show, and their metadata."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Final, Literal
from uuid import uuid4

import msgspec
from sqlalchemy import ColumnElement, Connection

from atoll.api.frame import bodies, paging
from atoll.api.frame.answers import OneOf, QueryString, parameter
from atoll.api.frame.call import Call
from atoll.api.frame.filters import mapping
from atoll.api.frame.metadata import Metadata, Wanted, check_size
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.api.frame.views import View, field
from atoll.api.shares import access_to
from atoll.api.shares.shares import is_own, own, visible
from atoll.db import access_rules, shares
from atoll.engine.queue import enqueue
from atoll.errors import Invalid, NotFound
from atoll.model.keys import share_key
from atoll.model.records import AccessRule, Share
from atoll.model.states import RULES_TO_DENY, SHARES_TAKING_RULES, RulesStatus, RuleState

routes = Routes()
RULES = rules(
    reader=(
        "share:access_get",
        "share:access_get_all",
        "share_access_rule:get",
        "share_access_rule:index",
    ),
    member=(
        "share:allow_access",
        "share:deny_access",
        "share_access_metadata:update",
        "share_access_metadata:delete",
    ),
)

SHARE: Final = "/shares/{share_id}"
RULE: Final = "/share-access-rules/{access_id}"
MAX_RULES: Final = 2000
"""The most rules of one share. Each change sends all of them to the service instance."""
_SINCE_RULE_STATES: Final = 28


def _old_state(row: AccessRule, share: Share) -> str:
    """Up to 2.27 a rule shows the state of all of the share's rules together."""
    status = share["access_rules_status"]
    return "new" if status == RulesStatus.SYNCING else status


_FIELDS = (
    field("id"),
    field("access_level"),
    field("access_to"),
    field("access_type"),
    field(
        "state",
        _old_state,
        until="2.27",
        kind=OneOf((RulesStatus.ACTIVE, "new", RulesStatus.ERROR)),
    ),
    field("state", since="2.28"),
    field("access_key", since="2.21"),
    field("created_at", since="2.33"),
    field("updated_at", since="2.33"),
    field("metadata", since="2.45"),
)
LISTED = View(AccessRule, *_FIELDS, called="ListedAccessRule")
SHOWN = View(AccessRule, *_FIELDS, field("share_id"))


class Allow(msgspec.Struct):
    """The client that may mount, and how."""

    access_type: str
    access_to: Annotated[str, msgspec.Meta(max_length=255)]
    access_level: Literal["rw", "ro"] | None = None
    metadata: Annotated[Metadata | None, bodies.since("2.45")] = None


class Deny(msgspec.Struct):
    """The rule that is to go."""

    access_id: bodies.Id


@routes.action(
    SHARE,
    "allow_access",
    policy="share:allow_access",
    status=200,
    legacy="os-allow_access",
    answers={"access": SHOWN},
)
def allow(call: Call, share_id: str, body: Allow) -> Body:
    """Write the rule down as ``queued_to_apply`` and ask for it to be applied."""
    client = access_to.canonical(body.access_type, body.access_to, call.version)
    metadata = body.metadata or {}
    check_size({}, metadata)
    with call.database.begin() as connection:
        share = own(call, connection, share_id)
        _check_takes_rules(call, share)
        state = access_rules.same(connection, share_id, body.access_type, client)
        if state is not None:
            raise _exists(body, client, state)
        if access_rules.count(connection, share_id) >= MAX_RULES:
            raise Invalid(
                f"The share has {MAX_RULES} access rules, and can't have more.",
                hint="Deny some, or let whole ranges in instead of single addresses.",
            )
        values: AccessRule = {
            "id": str(uuid4()),
            "share_id": share_id,
            "access_type": body.access_type,
            "access_to": client,
            "access_level": body.access_level or "rw",
            "state": RuleState.QUEUED_TO_APPLY,
            "metadata": metadata,
        }
        rule = access_rules.add(connection, **values)
        sync(call, connection, share_id)
        share = {**share, "access_rules_status": RulesStatus.SYNCING}
    return {"access": call.shape(SHOWN).one(rule, share)}


def _check_takes_rules(call: Call, share: Share) -> None:
    status = share["status"]
    if status not in SHARES_TAKING_RULES:
        raise Invalid(
            f"Invalid share: access rules can't be added while its status is {status.shown}."
        )
    if call.version < _SINCE_RULE_STATES and share["access_rules_status"] == RulesStatus.ERROR:
        raise Invalid(
            "Access rules cannot be added while the share has its access_rules_status set to "
            "error. Deny any rules in error state and try again."
        )


def _exists(body: Allow, client: str, state: RuleState) -> Invalid:
    words = f"Share access {body.access_type}:{client} exists"
    if state in RULES_TO_DENY:
        return Invalid(f"{words} and is just being removed.", hint="Try again shortly.")
    return Invalid(f"{words}.")


@routes.action(SHARE, "deny_access", policy="share:deny_access", legacy="os-deny_access")
def deny(call: Call, share_id: str, body: Deny) -> None:
    """Mark the rule ``queued_to_deny`` and ask for it to be taken away."""
    with call.database.begin() as connection:
        own(call, connection, share_id)
        rule = access_rules.get(connection, body.access_id)
        if rule is None or rule["share_id"] != share_id:
            raise NotFound(f"Share access rule {body.access_id} could not be found.")
        if rule["state"] != RuleState.DENYING:
            access_rules.change(connection, rule["id"], state=RuleState.QUEUED_TO_DENY)
        sync(call, connection, share_id)


def sync(call: Call, connection: Connection, share_id: str) -> None:
    """Ask for the share's rules to be made what they should be."""
    shares.change(connection, share_id, access_rules_status=RulesStatus.SYNCING)
    enqueue(connection, share_key(share_id), request_id=call.request_id)


@routes.action(
    SHARE,
    "access_list",
    policy="share:access_get_all",
    status=200,
    until="2.44",
    legacy="os-access_list",
    answers={"access_list": [LISTED]},
)
def access_list(call: Call, share_id: str) -> Body:
    """A share's rules, as they were asked for before 2.45."""
    with call.database.read() as connection:
        share = visible(call, connection, share_id)
        found = _rules_of(call, connection, share)
    return {"access_list": call.shape(LISTED).many(found, share)}


@routes.get(
    "/share-access-rules",
    policy="share_access_rule:index",
    since="2.45",
    query=QueryString(more=(parameter("share_id", required=True), parameter("metadata"))),
    answers={"access_list": [LISTED]},
)
def index(call: Call) -> Body:
    """A share's rules."""
    params = call.request.params
    share_id = paging.one(params, "share_id")
    if not share_id:
        raise Invalid("The field 'share_id' has to be specified.")
    with call.database.read() as connection:
        try:
            share = visible(call, connection, share_id)
        except NotFound:  # here Manila does not say 404 as elsewhere
            raise Invalid(f"Share {share_id[:64]} not found.") from None
        wanted = access_rules.conditions({}, metadata=mapping(params, "metadata"))
        found = _rules_of(call, connection, share, wanted)
    return {"access_list": call.shape(LISTED).many(found, share)}


def _rules_of(
    call: Call,
    connection: Connection,
    share: Share,
    conditions: Sequence[ColumnElement[bool]] = (),
) -> list[AccessRule]:
    """A share's rules. All projects see a public share, but only its own project sees its rules."""
    if not is_own(call, share):
        return []
    return access_rules.of_share(connection, share["id"], conditions)


@routes.get(RULE, policy="share_access_rule:get", since="2.45", answers={"access": SHOWN})
def show(call: Call, access_id: str) -> Body:
    """One rule."""
    with call.database.read() as connection:
        rule, share = _own_rule(call, connection, access_id)
    return {"access": call.shape(SHOWN).one(rule, share)}


@routes.put(
    f"{RULE}/metadata",
    policy="share_access_metadata:update",
    since="2.45",
    answers={"metadata": Metadata},
)
def update_metadata(call: Call, access_id: str, body: Wanted) -> Body:
    """Add keys to a rule's metadata, change those that are there."""
    with call.database.begin() as connection:
        rule = _locked_rule(call, connection, access_id)
        metadata = {**rule["metadata"], **body.metadata}
        check_size(rule["metadata"], metadata)
        access_rules.change(connection, access_id, metadata=metadata)
    return {"metadata": metadata}


@routes.delete(
    f"{RULE}/metadata/{{key}}",
    policy="share_access_metadata:delete",
    status=200,
    since="2.45",
)
def delete_metadata(call: Call, access_id: str, key: str) -> None:
    """Remove one key of a rule's metadata."""
    with call.database.begin() as connection:
        rule = _locked_rule(call, connection, access_id)
        if key not in rule["metadata"]:
            raise NotFound(f"There is no metadata with the key {key[:64]}.")
        kept = {name: value for name, value in rule["metadata"].items() if name != key}
        access_rules.change(connection, access_id, metadata=kept)


def _own_rule(call: Call, connection: Connection, access_id: str) -> tuple[AccessRule, Share]:
    """The rule with its share, if that is the caller's project's."""
    rule = access_rules.get(connection, access_id)
    share = shares.get(connection, rule["share_id"]) if rule is not None else None
    call.visible(share, "Share access rule", access_id)
    assert rule is not None
    assert share is not None
    return rule, share


def _locked_rule(call: Call, connection: Connection, access_id: str) -> AccessRule:
    """The rule, locked until this transaction ends."""
    _own_rule(call, connection, access_id)
    rule = access_rules.lock(connection, access_id)
    if rule is None:
        raise NotFound(f"Share access rule {access_id[:64]} could not be found.")
    return rule
