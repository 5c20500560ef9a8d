"""The two ed25519 key pairs of each service instance: its host key, and the key to log in.

The login key lives as long as the share server, encrypted in private storage. The host key is kept
(encrypted) only until the instance has answered with it. Until then, a repeated set-up must use the
same key, or the pin would not match an instance that an earlier, interrupted try has made.
Afterwards only the instance has it. Its public half stays, as the pin.
"""

from __future__ import annotations

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from atoll.cloud.base import Access, Identity
from atoll.driver.storage import PrivateStorage
from atoll.errors import ServiceInstanceException

LOGIN_KEY = "login_key"
LOGIN_KEY_PUBLIC = "login_key_public"
HOST_KEY = "host_key"
HOST_KEY_PUBLIC = "host_key_public"


def new_key() -> tuple[str, str]:
    """A private key in OpenSSH's format, and its public half as one line."""
    key = Ed25519PrivateKey.generate()
    private = key.private_bytes(Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return private.decode(), public.decode()


class InstanceKeys:
    """The keys of one share server's instance, in private storage."""

    def __init__(self, storage: PrivateStorage, resource: str) -> None:
        self._storage = storage
        self._resource = resource

    def identity(self, user: str, hostname: str) -> Identity:
        """The keys for a new instance. They stay the same until ``settle``."""
        self._make(LOGIN_KEY, LOGIN_KEY_PUBLIC)
        self._make(HOST_KEY, HOST_KEY_PUBLIC)
        return Identity(
            user=user,
            authorized_key=self._get(LOGIN_KEY_PUBLIC),
            host_key=self._get(HOST_KEY),
            host_key_public=self._get(HOST_KEY_PUBLIC),
            hostname=hostname,
        )

    def access(self, user: str, address: str) -> Access:
        """How to log in. Raises ``ServiceInstanceException`` if no keys were ever made."""
        return Access(
            user=user,
            address=address,
            private_key=self._get(LOGIN_KEY),
            host_key_public=self._get(HOST_KEY_PUBLIC),
        )

    def settle(self) -> None:
        """Delete the host key's private half, after the instance has answered with it."""
        if self._storage.get(self._resource, HOST_KEY) is not None:
            self._storage.delete(self._resource, HOST_KEY)

    def _make(self, private_name: str, public_name: str) -> None:
        if self._storage.get(self._resource, private_name) is not None:
            return
        private, public = new_key()
        # This is one write, so that the two halves always belong together.
        self._storage.update(
            self._resource, {private_name: private, public_name: public}, encrypt=True
        )

    def _get(self, name: str) -> str:
        value = self._storage.get(self._resource, name)
        if value is None:
            raise ServiceInstanceException(f"The {name} of {self._resource} was never made.")
        return value
