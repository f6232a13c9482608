"""
Credentials: who a call is made as. They are in no log, no *repr* and no pickle.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from fal_core.errors import FalServerlessError
from fal_host_serverless import profiles, settings


@attrs.define(eq=False, repr=False)
class Credentials:
    """
    Nobody's credentials: nothing is sent. Others are subclasses.
    """

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """
        Return what an RPC carries.

        Raises:
            FalServerlessError: There are no credentials.
        """
        return ()

    def headers(self) -> dict[str, str]:
        """
        Return what an HTTP request carries.

        Raises:
            FalServerlessError: There are no credentials.
        """
        return {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __reduce__(self) -> tuple[Any, ...]:
        # Whoever opens the pickle has credentials of its own, or none.
        return find_credentials, ()


@attrs.define(eq=False, repr=False)
class KeyCredentials(Credentials):
    """
    A key of fal.ai, or of another server.
    """

    key_id: str
    key_secret: str

    @classmethod
    def of(cls, key: str, source: str) -> KeyCredentials:
        """
        Return the credentials of *key*, written as ``ID:SECRET``.

        Arguments:
            source: Where the key was found, for the error.

        Raises:
            FalServerlessError: It is not written so.
        """
        identity, separator, secret = key.partition(":")
        if not (identity and separator and secret):
            raise FalServerlessError(f"The key of {source} is not written as 'ID:SECRET'.")
        return cls(identity, secret)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("auth-key", self.key_secret), ("auth-key-id", self.key_id))

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Key {self.key_id}:{self.key_secret}"}

    def __repr__(self) -> str:
        return f"KeyCredentials(key_id={self.key_id!r}, key_secret='***')"


@attrs.define(eq=False, repr=False)
class MissingCredentials(Credentials):
    """
    Credentials that nobody gave. What needs them says how they are given.
    """

    def metadata(self) -> tuple[tuple[str, str], ...]:
        raise FalServerlessError(
            "There are no credentials. Set FAL_KEY to 'ID:SECRET', or keep a key in a "
            "profile: 'fal-core profile key'."
        )

    def headers(self) -> dict[str, str]:
        return dict(self.metadata())


def find_credentials(api_key: str | None = None, profile: str | None = None) -> Credentials:
    """
    Return the credentials of *api_key*, else of the environment, else of a profile.

    Raises:
        FalServerlessError: A key is malformed, or there is no such profile.
    """
    if settings.auth_disabled():
        return Credentials()
    if api_key is not None:
        return KeyCredentials.of(api_key, "the argument")
    if not settings.is_set("FAL_FORCE_AUTH_BY_USER"):
        if key := os.environ.get("FAL_KEY"):
            return KeyCredentials.of(key, "FAL_KEY")
        identity, secret = os.environ.get("FAL_KEY_ID"), os.environ.get("FAL_KEY_SECRET")
        if identity and secret:
            return KeyCredentials(identity, secret)
    if key := profiles.read().value("key", profile):
        return KeyCredentials.of(key, "the profile")
    return MissingCredentials()
