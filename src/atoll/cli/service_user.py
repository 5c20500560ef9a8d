"""Makes or corrects the user by which Atoll validates tokens; needs an administrator."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keystoneauth1.exceptions import Unauthorized
from keystoneauth1.identity.v3 import Password
from keystoneauth1.session import Session
from openstack.connection import Connection
from openstack.identity.v3._proxy import Proxy

from atoll.api.auth import service_user
from atoll.cli.catalog import Change, identity_api
from atoll.config import Settings
from atoll.errors import NotFound


def ensure(connection: Connection, settings: Settings) -> Iterator[Change]:
    """Ensure the project, the role, the user with the configured password, and the assignment."""
    identity = identity_api(connection)
    names = settings.keystone
    project_domain = _domain(identity, names.project_domain_name)
    user_domain = _domain(identity, names.user_domain_name)

    projects = identity.projects(name=names.project_name, domain_id=project_domain)
    project, change = _found_or_made(
        "project",
        next(iter(projects), None),
        lambda: identity.create_project(name=names.project_name, domain_id=project_domain),
    )
    yield change
    role, change = _found_or_made(
        "role",
        next(iter(identity.roles(name=service_user.ROLE)), None),
        lambda: identity.create_role(name=service_user.ROLE),
    )
    yield change
    change = _user(connection, settings, user_domain)
    yield change
    user_id = change.id
    label = f"{service_user.ROLE} for {names.username} in {names.project_name}"
    given = identity.role_assignments(user_id=user_id, scope_project_id=project.id, role_id=role.id)
    if any(True for _ in given):
        yield Change("kept", "role assignment", label, "")
    else:
        identity.assign_project_role_to_user(project.id, user_id, role.id)
        yield Change("made", "role assignment", label, "")


def remove(connection: Connection, settings: Settings) -> Iterator[Change]:
    """Delete the user. Project and role remain, because other services may use them."""
    identity = identity_api(connection)
    domain_id = _domain(identity, settings.keystone.user_domain_name)
    name = settings.keystone.username
    for user in identity.users(name=name, domain_id=domain_id):
        identity.delete_user(user.id)
        yield Change("removed", "user", name, user.id)


def _domain(identity: Proxy, name: str) -> str:
    for domain in identity.domains(name=name):
        return str(domain.id)
    raise NotFound(
        f"Keystone has no domain {name}.",
        hint="Correct keystone.user_domain_name and keystone.project_domain_name.",
    )


def _found_or_made(kind: str, found: Any, make: Any) -> tuple[Any, Change]:
    if found is not None:
        return found, Change("kept", kind, found.name, found.id)
    made = make()
    return made, Change("made", kind, made.name, made.id)


def _user(connection: Connection, settings: Settings, domain_id: str) -> Change:
    identity = identity_api(connection)
    name = settings.keystone.username
    password = _password(settings)
    for user in identity.users(name=name, domain_id=domain_id):
        if user.is_enabled and _is_valid(connection, user.id, password):
            return Change("kept", "user", name, user.id)
        identity.update_user(user.id, password=password, enabled=True)
        return Change("updated", "user", name, user.id)
    made = identity.create_user(
        name=name,
        domain_id=domain_id,
        password=password,
        enabled=True,
        description="Atoll validates tokens as this user.",
    )
    return Change("made", "user", name, made.id)


def _is_valid(connection: Connection, user_id: str, password: str) -> bool:
    """Whether the user's password is this one."""
    url = connection.config.get_auth_args()["auth_url"]
    login = Password(url, user_id=user_id, password=password, unscoped=True)
    try:
        Session(auth=login, verify=connection.session.verify, timeout=30).get_token()
    except Unauthorized:
        return False
    return True


def _password(settings: Settings) -> str:
    """The configured password. If there is none, it is generated and stored in a file (0600)."""
    file = service_user.password_file(settings)
    if not settings.keystone.password and not file.exists():
        _write(file, secrets.token_urlsafe(32))
    return service_user.password(settings)


def _write(file: Path, password: str) -> None:
    """Write the file atomically."""
    file.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    half = file.with_name(f"{file.name}.new")
    descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as written:
        written.write(password + "\n")
        written.flush()
        os.fsync(written.fileno())
    half.rename(file)
