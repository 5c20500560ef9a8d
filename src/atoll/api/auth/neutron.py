"""Neutron, asked with a user's own token whether the user may see a network.

Atoll itself may see and use more than the user may (with the role ``admin``, everything), so a
request with Atoll's own token can't tell what the user may do. It needs the extra ``[openstack]``.
"""

from __future__ import annotations

from typing import Any

import structlog
from keystoneauth1.exceptions import ClientException
from requests import Response

from atoll.api.auth import service_user
from atoll.config import Settings
from atoll.errors import Invalid, NeutronUnavailable

ANSWER_SECONDS = 10.0

log = structlog.get_logger(__name__)


class UsersNetworks:
    """Checks which networks the bearer of a token may use."""

    def __init__(self, settings: Settings) -> None:
        keystone = settings.keystone
        _, self._session = service_user.login(settings, ANSWER_SECONDS)
        self._region = keystone.region_name or None
        self._interfaces = [keystone.interface, "public"]

    def check(self, token: str, project_id: str, network_id: str, subnet_id: str) -> None:
        """Raise ``Invalid`` unless the bearer's project may have ports in that subnet.

        Raises ``NeutronUnavailable`` if Neutron does not answer. All projects see an external
        network and may have floating addresses of it, but only its owner and projects that it is
        shared with may have ports in it.
        """
        network = self._get(token, "network", network_id)
        subnet = self._get(token, "subnet", subnet_id)
        if subnet.get("network_id") != network_id:
            raise Invalid(f"The subnet {subnet_id} is not one of the network {network_id}.")
        is_own = project_id and network.get("project_id") == project_id
        if network.get("router:external") and not (is_own or network.get("shared")):
            raise Invalid(
                f"The network {network_id} is external: your project may not have ports in it."
            )

    def _get(self, token: str, kind: str, thing_id: str) -> dict[str, Any]:
        response = self._ask(token, f"/v2.0/{kind}s/{thing_id}")
        if response.status_code in (400, 401, 403, 404):
            raise Invalid(
                f"The {kind} {thing_id} could not be found, or your project may not use it."
            )
        try:
            found = response.json().get(kind) if response.status_code == 200 else None
        except (ValueError, AttributeError):
            found = None
        if not isinstance(found, dict):
            log.error("neutron.no_answer", status=response.status_code)
            raise NeutronUnavailable
        return found

    def _ask(self, token: str, path: str) -> Response:
        try:
            endpoint = self._session.get_endpoint(
                service_type="network", interface=self._interfaces, region_name=self._region
            )
            if endpoint is None:
                log.error("neutron.not_in_catalog")
                raise NeutronUnavailable
            response: Response = self._session.get(
                endpoint.rstrip("/").removesuffix("/v2.0") + path,
                headers={"X-Auth-Token": token},
                authenticated=False,
                raise_exc=False,
                redirect=False,
            )
        except ClientException as error:
            log.error("neutron.not_asked", error=str(error))
            raise NeutronUnavailable from error
        return response
