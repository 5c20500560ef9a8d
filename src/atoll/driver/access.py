"""From access rules to exports: which rules can be applied, which can't and why.

A rule that can't be applied does not affect the others. Rules that name the same client in two ways
(``10.0.0.1`` and ``10.0.0.1/32``) are one export.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import structlog

from atoll import addresses
from atoll.driver.protocols import ShareHelper
from atoll.driver.resources import RuleUpdate
from atoll.errors import Invalid, InvalidShareAccess, InvalidShareAccessLevel
from atoll.guest.base import ExportRule
from atoll.model.records import AccessRule
from atoll.model.states import RuleState

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Verdict:
    """Which of a share's access rules are applied, and why the others are not."""

    exports: tuple[ExportRule, ...]
    """What to export, most specific first: the order in which an NFS server tries them."""
    refused: dict[str, str] = field(default_factory=dict)
    """Rule id → why it can't be applied."""
    clients: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Client as exported → ids of the rules that name it."""

    def updates(self, rejected: Mapping[str, str]) -> dict[str, RuleUpdate]:
        """Rule id → error, for refused rules and those whose client the server rejected.

        Users read the reasons, so the server's own words about a client go to the log.
        """
        reasons = dict(self.refused)
        for client, reason in rejected.items():
            rules = self.clients.get(client, ())
            if rules:
                log.warning("access_rule_rejected", client=client, rules=rules, reason=reason)
            reasons |= dict.fromkeys(rules, f"The file server accepts no rule for {client}.")
        return {
            rule_id: RuleUpdate(state=RuleState.ERROR, reason=why)
            for rule_id, why in reasons.items()
        }


def judge(helper: ShareHelper, rules: Iterable[AccessRule]) -> Verdict:
    """Which of the rules can be exported, and how.

    If two rules give one client different levels, the first in the list is applied.
    """
    chosen: dict[str, ExportRule] = {}
    clients: dict[str, tuple[str, ...]] = {}
    refused: dict[str, str] = {}
    for rule in rules:
        try:
            export = helper.export_rule(
                rule["access_type"], rule["access_to"], rule["access_level"]
            )
        except (Invalid, InvalidShareAccess, InvalidShareAccessLevel) as error:
            refused[rule["id"]] = error.answer
            continue
        first = chosen.setdefault(export.to, export)
        if first.level == export.level:
            clients[export.to] = (*clients.get(export.to, ()), rule["id"])
        else:
            refused[rule["id"]] = f"Another rule already gives {export.to} the level {first.level}."
    exports = sorted(chosen.values(), key=lambda export: addresses.specificity(export.to))
    return Verdict(tuple(exports), refused, clients)
