"""A Keystone with people in it: the double, and a real one where ``OS_CLOUD`` names one."""

from __future__ import annotations

import os
import secrets
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from openstack.connection import Connection

from atoll.api.auth import service_user as service_user_facts
from atoll.cli import catalog, service_user
from atoll.config import Api, Settings
from atoll.config import Keystone as Section
from tests.api.keystone_double import KeystoneDouble, running

Credentials = dict[str, str]
"""``OS_…`` variables."""


@dataclass
class Keystone:
    """One Keystone, a region of it that is the tests' own, and what they have made in it."""

    admin: Credentials
    double: KeystoneDouble | None
    run: str = field(default_factory=lambda: f"atoll-test-{secrets.token_hex(3)}")
    undo: ExitStack = field(default_factory=ExitStack)

    def __post_init__(self) -> None:
        self.connection = connect(self.admin)
        self.identity = catalog.identity_api(self.connection)
        self._projects: dict[str, str] = {}
        self._has_service_user = False
        self.roles = {role.name: role.id for role in self.identity.roles()}

    @property
    def auth_url(self) -> str:
        return self.admin["OS_AUTH_URL"]

    @property
    def region(self) -> str:
        return self.run

    def project(self, name: str) -> str:
        """The id of a project of the tests' own."""
        if name not in self._projects:
            identity = self.identity
            made = identity.create_project(name=f"{self.run}-{name}", domain_id="default")
            self.undo.callback(identity.delete_project, made.id)
            self._projects[name] = made.id
        return self._projects[name]

    def person(self, *roles: str, project: str = "") -> Credentials:
        """A new user's credentials, in a project or (without one) in the system."""
        identity = self.identity
        password = secrets.token_urlsafe(12)
        name = f"{self.run}-{secrets.token_hex(3)}"
        user = identity.create_user(name=name, domain_id="default", password=password)
        self.undo.callback(identity.delete_user, user.id)
        for role in roles:
            if project:
                place = self.project(project)
                identity.assign_project_role_to_user(place, user.id, self.roles[role])
            else:
                identity.assign_system_role_to_user(user.id, self.roles[role], "all")
        scope = (
            {"OS_PROJECT_NAME": f"{self.run}-{project}", "OS_PROJECT_DOMAIN_NAME": "Default"}
            if project
            else {"OS_SYSTEM_SCOPE": "all"}
        )
        return {
            "OS_AUTH_URL": self.auth_url,
            "OS_USERNAME": name,
            "OS_USER_DOMAIN_NAME": "Default",
            "OS_PASSWORD": password,
            "OS_REGION_NAME": self.region,
            "OS_IDENTITY_API_VERSION": "3",
            **scope,
        }

    def settings(self, state: Path, **keystone: Any) -> Settings:
        """Of an API behind this Keystone, its service user made."""
        chosen = {
            "auth_url": self.auth_url,
            "username": f"{self.run}-service",
            "password": "of the service",
            "project_name": f"{self.run}-service",
            "interface": "public",
            **keystone,
        }
        made = Settings(
            state_dir=state, api=Api(auth_strategy="keystone"), keystone=Section(**chosen)
        )
        if self._has_service_user:
            return made
        self._has_service_user = True
        for change in service_user.ensure(self.connection, made):
            if change.change == "made" and change.kind in ("user", "project"):
                delete = getattr(self.identity, f"delete_{change.kind}")
                self.undo.callback(delete, change.id)
        return made


def connect(credentials: Credentials) -> Connection:
    """By these credentials and nothing else."""
    options: Any = {name.removeprefix("OS_").lower(): value for name, value in credentials.items()}
    return Connection(**options)


def token(credentials: Credentials) -> str:
    """A fresh token."""
    with connect(credentials) as connection:
        return str(connection.session.get_token())


def unscoped(credentials: Credentials) -> Credentials:
    """The same user, who says nothing of a project."""
    return {
        name: value for name, value in credentials.items() if not name.startswith("OS_PROJECT_")
    }


@pytest.fixture(
    scope="session", params=["double", pytest.param("real", marks=pytest.mark.openstack)]
)
def keystone(request: pytest.FixtureRequest) -> Iterator[Keystone]:
    """Each test runs against both; the real one only if asked for."""
    with ExitStack() as stack:
        made = _real() if request.param == "real" else _double(stack)
        try:
            with warnings.catch_warnings(action="ignore"):
                _furnish(made)
            yield made
        finally:
            with warnings.catch_warnings(action="ignore"):
                made.undo.close()


def _double(stack: ExitStack) -> Keystone:
    double = stack.enter_context(running(KeystoneDouble()))
    return Keystone(administrator(double), double)


def administrator(double: KeystoneDouble) -> Credentials:
    """The double's."""
    return {
        "OS_AUTH_URL": double.url,
        "OS_USERNAME": "admin",
        "OS_PASSWORD": "admin",
        "OS_PROJECT_NAME": "admin",
        "OS_USER_DOMAIN_NAME": "Default",
        "OS_PROJECT_DOMAIN_NAME": "Default",
        "OS_REGION_NAME": "RegionOne",
    }


def _real() -> Keystone:
    if not any(name in os.environ for name in ("OS_CLOUD", "OS_AUTH_URL")):
        pytest.skip("OS_CLOUD names no OpenStack")
    from openstack.config import OpenStackConfig

    region = OpenStackConfig().get_one()
    names = {**region.auth, "region_name": region.get_region_name()}
    return Keystone({f"OS_{name.upper()}": str(value) for name, value in names.items()}, None)


def _furnish(keystone: Keystone) -> None:
    """A region of our own with Keystone in it, so that no other test's catalog is in the way."""
    identity = keystone.identity
    identity.create_region(id=keystone.region, description="of a test run")
    keystone.undo.callback(identity.delete_region, keystone.region)
    (service,) = identity.services(type="identity")
    url = f"{keystone.auth_url.rstrip('/').removesuffix('/v3')}/v3/"
    for interface in ("public", "internal"):
        made = identity.create_endpoint(
            service_id=service.id, interface=interface, region_id=keystone.region, url=url
        )
        keystone.undo.callback(identity.delete_endpoint, made.id)


@pytest.fixture
def take_away() -> Iterator[Callable[..., None]]:
    """How goes away what a test makes in Keystone."""
    with ExitStack() as undo:

        def later(delete: Callable[..., object], which: str) -> None:
            undo.callback(delete, which)

        yield later


ROLE = service_user_facts.ROLE
