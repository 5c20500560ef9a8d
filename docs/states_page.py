"""Writes the reference page of states."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from source import NOTICE, docstrings, following_strings, markdown

from atoll.engine import periodic
from atoll.engine.retry import Retry
from atoll.lifecycle import failed, message
from atoll.model import states as model
from atoll.model import transitions

STATES = """\
# States

The states are Manila's, except for those of operations. Workers act on states in plain type until
these change. A state in **bold** stays until somebody asks for a change, or until failed work is
tried again. *Next* lists what follows without an administrator's hand. *Given up* says what a state
becomes when a worker gives an operation up.

The code names [sets of states](#sets-of-states), which decide what is possible in a state.
"""

_SHARE, _SNAPSHOT, _SERVER = model.ShareStatus, model.SnapshotStatus, model.ServerStatus
_NETWORK, _RULE, _OPERATION = model.NetworkStatus, model.RuleState, model.OperationStatus

_SHARE_WORK: dict[StrEnum, str] = {
    _SHARE.CREATING: "places the share on a share server; makes the volume and the file system, "
    "mounts and exports it",
    _SHARE.CREATING_FROM_SNAPSHOT: "does the same with a volume that is made from the snapshot",
    _SHARE.AVAILABLE: "repairs what differs from the row; applies access rules",
    _SHARE.EXTENDING: "waits for snapshots that are being taken; grows volume and file system",
    _SHARE.EXTENDING_ERROR: "does the same as for `available`; tries again to grow the share",
    _SHARE.DELETING: "stops serving the share, deletes the volume, removes the row",
    _SHARE.ERROR: "tries again to make a share that was never served",
}
_SNAPSHOT_WORK: dict[StrEnum, str] = {
    _SNAPSHOT.CREATING: "waits for earlier snapshots of the share; takes the snapshot",
    _SNAPSHOT.DELETING: "deletes the snapshot and its row",
}
_SERVER_WORK: dict[StrEnum, str] = {
    _SERVER.CREATING: "makes ports, keys and the instance; waits for the guest agent's answer",
    _SERVER.ACTIVE: "asks in each pass how the instance is; starts, resets or replaces one that "
    "does not answer",
    _SERVER.DELETING: "removes the instance; keeps a server that has shares, as `active`",
    _SERVER.ERROR: "makes the server when a share that waits for it is tried again; removes the "
    "server when it has no share",
}
_NETWORK_WORK: dict[StrEnum, str] = {
    _NETWORK.ACTIVE: "makes or looks up the networks of new subnets",
    _NETWORK.ERROR: "tries again",
    _NETWORK.DELETING: "removes the share servers, the networks that Atoll has made, and the rows",
}
_RULE_WORK: dict[StrEnum, str] = {
    _RULE.QUEUED_TO_APPLY: "takes the rule in hand",
    _RULE.APPLYING: "serves the share with the rule",
    _RULE.QUEUED_TO_UPDATE: "takes the rule in hand",
    _RULE.UPDATING: "serves the share with the changed rule",
    _RULE.QUEUED_TO_DENY: "takes the rule in hand",
    _RULE.DENYING: "serves the share without the rule; removes the row",
}
_OPERATION_WORK: dict[StrEnum, str] = {
    _OPERATION.QUEUED: "claims the operation",
    _OPERATION.RUNNING: "makes the resource match its row; renews the lease three times a lease",
    _OPERATION.DONE: f"deletes the row after {periodic.KEEP_DONE.days} days",
    _OPERATION.FAILED: f"deletes the row after {periodic.KEEP_FAILED.days} days",
}
_NETWORK_NEXT: dict[StrEnum, tuple[StrEnum, ...]] = {
    _NETWORK.ACTIVE: (_NETWORK.ERROR, _NETWORK.DELETING),
    _NETWORK.ERROR: (_NETWORK.ACTIVE, _NETWORK.DELETING),
    _NETWORK.DELETING: (_NETWORK.ERROR,),
}
_OPERATION_NEXT: dict[StrEnum, tuple[StrEnum, ...]] = {
    _OPERATION.QUEUED: (_OPERATION.RUNNING,),
    _OPERATION.RUNNING: (_OPERATION.DONE, _OPERATION.QUEUED, _OPERATION.FAILED),
}


@dataclass(frozen=True)
class Resource:
    """What the page says of the states of one kind of resource."""

    title: str
    states: type[StrEnum]
    next: Mapping[Any, tuple[StrEnum, ...]]
    """What a state may be left for."""
    given_up: Mapping[Any, StrEnum]
    """What a state becomes when an operation is given up."""
    work: Mapping[Any, str]
    """What a worker does about a state; nothing about the others."""
    at_work: tuple[StrEnum, ...]
    """States that a worker acts on until they change."""
    goes: tuple[StrEnum, ...] = ()
    """States after which the row is removed."""
    notes: str = ""


def _time(seconds: float) -> str:
    return "an hour" if seconds == 3600 else f"{seconds:.0f} s"


RESOURCES = (
    Resource(
        "Share",
        _SHARE,
        transitions.SHARE_LEAVES_FOR,
        transitions.SHARE_GIVEN_UP_AS,
        _SHARE_WORK,
        model.SHARES_ASKING_FOR_WORK,
        (_SHARE.DELETING,),
        f"""
When an operation on an `available` share is given up, the share stays `available`, and the rules
that were in hand become `error`. The only exception is a share that an administrator called
`available` before it was ever served: it becomes `error`.

A worker tries again by itself what has failed: `error` becomes `creating` (or
`creating_from_snapshot`) for a share that was never served, and `extending_error` becomes
`extending`. The first pause is `worker.reconcile_interval`. Each failure doubles the pause, up to
{_time(failed.LONGEST_PAUSE)}. What an administrator has set by hand stays as it is.

Below microversion 2.54, clients see `creating` for `creating_from_snapshot`.
""",
    ),
    Resource(
        "Snapshot",
        _SNAPSHOT,
        transitions.SNAPSHOT_LEAVES_FOR,
        transitions.SNAPSHOT_GIVEN_UP_AS,
        _SNAPSHOT_WORK,
        model.SNAPSHOTS_ASKING_FOR_WORK,
        (_SNAPSHOT.DELETING,),
        """
A snapshot in `error` is not tried again, because the moment that it was asked for has passed.
""",
    ),
    Resource(
        "Share server",
        _SERVER,
        transitions.SERVER_LEAVES_FOR,
        {_SERVER.CREATING: _SERVER.ERROR, _SERVER.DELETING: _SERVER.ERROR},
        _SERVER_WORK,
        model.SERVERS_ASKING_FOR_WORK,
        (_SERVER.DELETING,),
        """
When an operation on an `active` server is given up, the server stays `active`, and the next pass
looks at it again.
""",
    ),
    Resource(
        "Share network",
        _NETWORK,
        _NETWORK_NEXT,
        dict.fromkeys(_NETWORK_NEXT, _NETWORK.ERROR),
        _NETWORK_WORK,
        (_NETWORK.DELETING,),
        (_NETWORK.DELETING,),
        """
The API shows a share network again when its deletion was given up. Delete it again.
""",
    ),
    Resource(
        "Access rule",
        _RULE,
        transitions.RULE_LEAVES_FOR,
        dict.fromkeys(model.RULES_IN_HAND, _RULE.ERROR),
        _RULE_WORK,
        model.UNSETTLED_RULES,
        (_RULE.DENYING,),
        """
A worker applies together whatever rules have been asked for when an operation starts.
""",
    ),
    Resource("All rules of a share: `access_rules_status`", model.RulesStatus, {}, {}, {}, ()),
    Resource(
        "Operation",
        _OPERATION,
        _OPERATION_NEXT,
        {_OPERATION.RUNNING: _OPERATION.FAILED},
        _OPERATION_WORK,
        model.UNFINISHED_OPERATIONS,
        (_OPERATION.DONE, _OPERATION.FAILED),
        f"""
At most one operation of a resource is `queued` or `running`. It is tried at most
{Retry.tries} times, or for {_time(Retry.age)}, with pauses that double from {_time(Retry.first)} to
{_time(Retry.longest)}; the first three tries are made in any case. An error that can't pass by
itself is given up at once. When {message.DELAYED_AT} tries have failed, and when the operation is
given up, the user gets a message. `atoll operation list` has the whole error.
""",
    ),
)


def states() -> str:
    """The page of states."""
    return NOTICE + STATES + "".join(map(_states_of, RESOURCES)) + _by_hand() + _sets()


def described(resource: Resource) -> dict[StrEnum, str]:
    """The states that the page has a row for, with their meanings."""
    return {resource.states[key]: text for key, text in docstrings(resource.states).items()}


def _states_of(resource: Resource) -> str:
    meanings = described(resource)
    text = f"\n## {resource.title}\n\n"
    if not resource.next:
        text += "| State | Meaning |\n|---|---|\n"
        text += "".join(f"| `{one}` | {markdown(said)} |\n" for one, said in meanings.items())
        return text
    text += "| State | Meaning | What a worker does | Next | Given up |\n|---|---|---|---|---|\n"
    for state, meaning in meanings.items():
        name = f"`{state}`" if state in resource.at_work else f"**`{state}`**"
        nexts = [f"`{one}`" for one in resource.next.get(state, ())]
        nexts += ["(gone)"] if state in resource.goes else []
        given_up = f"`{resource.given_up[state]}`" if state in resource.given_up else ""
        work = resource.work.get(state, "nothing")
        text += f"| {name} | {markdown(meaning)} | {work} | {', '.join(nexts)} | {given_up} |\n"
    return text + resource.notes


def _by_hand() -> str:
    marked = sorted({one.shown for one in model.ShareStatus if one.shown != one.value})
    names = ", ".join(f"`{name}`" for name in marked)
    return f"""
## Set by hand

An administrator can set any status that Manila knows (`openstack share set --status`), also of
snapshots and share servers. That starts no work, except that a worker checks and repairs a share
that is set to a status at rest. A status that asks for work ({names})
is stored with a mark behind it when it is set by hand, and no worker acts on it
([decision 19](../decisions/0019-statuses-set-by-hand-carry-a-mark.md)).
"""


def named_sets() -> dict[str, tuple[StrEnum, ...]]:
    """The tuples of states that ``atoll.model.states`` has a public name for."""
    return {
        name: value
        for name, value in vars(model).items()
        if name.isupper() and not name.startswith("_") and isinstance(value, tuple)
    }


def _sets() -> str:
    meanings = following_strings(ast.parse(inspect.getsource(model)).body)
    text = "\n## Sets of states\n\n| Set | States | Meaning |\n|---|---|---|\n"
    for name, members in named_sets().items():
        listed = ", ".join(f"`{state}`" for state in members)
        text += f"| `{name}` | {listed} | {markdown(meanings[name])} |\n"
    return text
