"""Security services (Active Directory, LDAP, Kerberos): Atoll has none, and says so.

Clients list them while they look for something else, so the lists are there, and empty.
"""

from __future__ import annotations

from typing import Any, NoReturn

from atoll.api.frame.answers import EMPTY, Kind
from atoll.api.frame.call import Call
from atoll.api.frame.policy import rules
from atoll.api.frame.routing import Body, Routes
from atoll.errors import NotFound
from atoll.model import features

RULES = rules(
    reader=("security_service:index", "security_service:detail", "security_service:show"),
    member=("security_service:create",),
)
routes = Routes()


_NONE: Kind = {"security_services": EMPTY}


@routes.get("/security-services", policy="security_service:index", answers=_NONE)
@routes.get("/security-services/detail", policy="security_service:detail", answers=_NONE)
def index(call: Call) -> Body:
    """None."""
    return {"security_services": []}


@routes.get("/security-services/{service_id}", policy="security_service:show")
def show(call: Call, service_id: str) -> NoReturn:
    """There is no such thing."""
    raise NotFound(f"Security service {service_id[:64]} could not be found.")


@routes.post(
    "/security-services",
    policy="security_service:create",
    needs=features.SECURITY_SERVICES,
)
def create(call: Call, body: dict[str, Any]) -> Body:
    """Refused, with the reason."""
    features.SECURITY_SERVICES.check()
    return None
