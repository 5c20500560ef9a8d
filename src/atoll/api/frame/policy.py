"""Who may do what: oslo.policy with defaults in code, and a cache in front of it.

Roles are admin, member and reader; an admin is also a member, a member also a reader. Everything
belongs to a project. Whoever's token is scoped to the system instead (Keystone has such) sees all
projects, and changes them as an admin only. A resource module names its rules with ``rules(…)``;
an operator overrides them in a YAML file, which is read again when it changes.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import structlog
from oslo_config import cfg
from oslo_policy import _checks as oslo_checks
from oslo_policy import policy as oslo

from atoll.errors import ConfigurationError, Forbidden

log = structlog.get_logger(__name__)

ADMIN: Final = "role:admin"
MEMBER: Final = "rule:context_is_admin or (role:member and project_id:%(project_id)s)"
READER: Final = "rule:context_sees_all or (role:reader and project_id:%(project_id)s)"
OVERSEER: Final = "rule:context_is_admin or (role:reader and system_scope:all)"
IS_ADMIN: Final = "context_is_admin"
SEES_ALL: Final = "context_sees_all"

_IMPLIED: Final = {"admin": ("member", "reader"), "member": ("reader",)}
_RELOAD_SECONDS: Final = 10.0
_CACHE_SIZE: Final = 20_000

Rules = Mapping[str, str]


def rules(
    *,
    reader: Iterable[str] = (),
    member: Iterable[str] = (),
    overseer: Iterable[str] = (),
    admin: Iterable[str] = (),
) -> Rules:
    """Rule names with the role that may do it by default.

    ``overseer`` is who reads what belongs to no project: an admin, or a reader of the system.
    """
    return {
        **dict.fromkeys(reader, READER),
        **dict.fromkeys(member, MEMBER),
        **dict.fromkeys(overseer, OVERSEER),
        **dict.fromkeys(admin, ADMIN),
    }


@dataclass(frozen=True, slots=True)
class Identity:
    """Who asks, as the authentication filter found out."""

    user_id: str
    project_id: str
    """Empty with a token that is scoped to the system."""
    roles: frozenset[str]
    system_scope: str = ""
    """``all`` with such a token."""

    @classmethod
    def of(
        cls, user_id: str, project_id: str, roles: Iterable[str], system_scope: str = ""
    ) -> Identity:
        """With the roles that others imply."""
        lower = {role.strip().lower() for role in roles if role.strip()}
        implied = {more for role in lower for more in _IMPLIED.get(role, ())}
        return cls(user_id, project_id, frozenset(lower | implied), system_scope)


class Policy:
    """Decides. A decision depends only on rule, identity and the target's owner, so it is kept."""

    def __init__(self, rules: Rules, policy_file: Path | None = None) -> None:
        if policy_file is None and oslo_checks.extension_checks is None:
            # Our own rules need no http: checks, and looking for them imports 6 MiB (requests).
            oslo_checks.extension_checks = {}
        self._file = policy_file
        self._conf = cfg.ConfigOpts()
        self._conf([], project="atoll", default_config_files=[], default_config_dirs=[])
        self._enforcer = oslo.Enforcer(
            self._conf,
            policy_file=str(policy_file) if policy_file else None,
            use_conf=policy_file is not None,
        )
        self._enforcer.suppress_deprecation_warnings = True
        self._enforcer.register_default(oslo.RuleDefault(IS_ADMIN, ADMIN))
        self._enforcer.register_default(oslo.RuleDefault(SEES_ALL, OVERSEER))
        for name, check in rules.items():
            self._enforcer.register_default(oslo.RuleDefault(name, check))
        self._known = frozenset(rules) | {IS_ADMIN, SEES_ALL}
        self._cache: dict[tuple[str, Identity, str, str], bool] = {}
        self._next_look = 0.0
        self._load(first=True)

    def _load(self, first: bool = False) -> None:
        """Read the operator's file, if it is there and has changed."""
        self._next_look = time.monotonic() + _RELOAD_SECONDS
        if self._file is not None and not self._file.is_file():
            raise ConfigurationError(f"The policy file {self._file} does not exist.")
        try:
            self._enforcer.load_rules(force_reload=first)
        except ValueError as error:
            raise ConfigurationError(f"The policy file {self._file}: {error}") from error
        self._cache.clear()

    def _look_again(self) -> None:
        """The rules in force stay where the new ones can't be read."""
        try:
            self._load()
        except ConfigurationError as error:
            log.error("policy file not read", error=str(error))

    def allows(
        self, rule: str, identity: Identity, target: Mapping[str, Any] | None = None
    ) -> bool:
        """Whether it may do this to the target, a row; without one, in its own project."""
        if rule not in self._known:
            raise KeyError(f"no policy rule is called {rule}")
        if self._file is not None and time.monotonic() > self._next_look:
            self._look_again()
        project = identity.project_id if target is None else target["project_id"]
        user = identity.user_id if target is None else (target["user_id"] or "")
        key = (rule, identity, project, user)
        answer = self._cache.get(key)
        if answer is None:
            answer = self._ask(rule, identity, project, user)
            if len(self._cache) >= _CACHE_SIZE:
                self._cache.clear()
            self._cache[key] = answer
        return answer

    def _ask(self, rule: str, identity: Identity, project_id: str, user_id: str) -> bool:
        credentials: dict[str, Any] = {
            "user_id": identity.user_id,
            "roles": sorted(identity.roles),
        }
        if identity.project_id:
            credentials["project_id"] = identity.project_id
        if identity.system_scope:
            credentials["system_scope"] = identity.system_scope
        target = {"project_id": project_id, "user_id": user_id}
        return bool(self._enforcer.enforce(rule, target, credentials))

    def enforce(
        self, rule: str, identity: Identity, target: Mapping[str, Any] | None = None
    ) -> None:
        """Raises ``Forbidden`` unless the identity may."""
        if not self.allows(rule, identity, target):
            raise Forbidden(f"Policy doesn't allow {rule} to be performed.")
