"""Our own user in Keystone: the one that asks Keystone about others' tokens."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

from atoll.config import Settings
from atoll.errors import ConfigurationError

if TYPE_CHECKING:
    from keystoneauth1.identity.v3 import Password
    from keystoneauth1.session import Session

ROLE: Final = "service"
"""What lets it ask."""


def password_file(settings: Settings) -> Path:
    """Where the password is, unless the settings hold it themselves."""
    return settings.keystone.password_file or settings.state_dir / "keystone.password"


def password(settings: Settings) -> str:
    """The user's password. Raises ``ConfigurationError`` where there is none."""
    if settings.keystone.password:
        return settings.keystone.password
    file = password_file(settings)
    try:
        first, *_ = [*file.read_text(encoding="utf-8").splitlines(), ""]
    except OSError as error:
        raise ConfigurationError(
            f"The password of Keystone's user {settings.keystone.username} can't be read from "
            f"{file}: {error.strerror}.",
            hint="'atoll keystone register --service-user' makes user and password; or set "
            "keystone.password_file.",
        ) from error
    if not first:
        raise ConfigurationError(f"{file} is empty.", hint="Its first line is the password.")
    return first


def auth_url(settings: Settings) -> str:
    """The Identity API. Raises ``ConfigurationError`` where it is not configured."""
    if not settings.keystone.auth_url:
        raise ConfigurationError(
            "keystone.auth_url is not set.",
            hint="Name the Identity API, like http://controller:5000.",
        )
    return settings.keystone.auth_url


def login(settings: Settings, seconds: float) -> tuple[Password, Session]:
    """This user's credentials, and a session of its whose requests take at most ``seconds`` each.

    Raises ``ConfigurationError`` where address or password are missing.
    """
    from keystoneauth1.identity.v3 import Password  # only where there is the extra [openstack]
    from keystoneauth1.session import Session

    keystone = settings.keystone
    credentials = Password(
        auth_url=auth_url(settings).rstrip("/").removesuffix("/v3") + "/v3",
        username=keystone.username,
        password=password(settings),
        user_domain_name=keystone.user_domain_name,
        project_name=keystone.project_name,
        project_domain_name=keystone.project_domain_name,
    )
    verify = str(keystone.cafile) if keystone.cafile else True
    return credentials, Session(auth=credentials, verify=verify, timeout=seconds)
