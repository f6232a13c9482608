"""
Credentials: what identifies the sender of requests.

They appear in no log, no *repr* and no pickle.
"""

from __future__ import annotations

import os
from typing import Any

import attrs

from fal_core.errors import FalServerlessError
from fal_host_serverless.account import addresses, logins, profiles
from fal_host_serverless.wire import settings


@attrs.define(eq=False, repr=False)
class Credentials:
    """Anonymous credentials, which send nothing, and the base class of all others."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        """
        Return the metadata that gRPC requests carry.

        Raises:
            FalServerlessError: There are no credentials, or a login has expired.
        """
        return ()

    def headers(self) -> dict[str, str]:
        """
        Return the headers that HTTP requests carry.

        Raises:
            FalServerlessError: There are no credentials, or a login has expired.
        """
        return {}

    def at(self, address: str) -> Credentials:
        """Return the credentials for the service at *address*."""
        return self

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    # Copies stay in this process.

    def __copy__(self) -> Credentials:
        return self

    def __deepcopy__(self, _: dict[int, Any]) -> Credentials:
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        # The process that opens the pickle has credentials of its own, or none.
        return find_credentials, ()


@attrs.define(eq=False, repr=False)
class KeyCredentials(Credentials):
    """A key of fal.ai, or of another server."""

    key_id: str
    key_secret: str

    @classmethod
    def of(cls, key: str, source: str) -> KeyCredentials:
        """
        Return the credentials of *key*, written as ``ID:SECRET``.

        Arguments:
            source: Names where the key was found, in the error.

        Raises:
            FalServerlessError: The key has another form.
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
class LoginCredentials(Credentials):
    """
    The login of a user, who may act for a team.

    Attributes:
        team: The nickname of the team; None for the user's own account.

        address: The address of the service that knows the team; the default one where it
            is None.
    """

    team: str | None = None
    address: str | None = None

    def at(self, address: str) -> Credentials:
        return attrs.evolve(self, address=address)

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return tuple((name.lower().removeprefix("x-"), value) for name, value in self._pairs())

    def headers(self) -> dict[str, str]:
        return dict(self._pairs())

    def _pairs(self) -> list[tuple[str, str]]:
        token = logins.read_token()
        pairs = [("Authorization", f"Bearer {token}")]
        if self.team:
            address = self.address or addresses.find_address()
            account = logins.find_account(address, token, self.team)
            pairs.append(("X-Fal-User-Id", account))
        return pairs

    def __repr__(self) -> str:
        return f"LoginCredentials(team={self.team!r})"


@attrs.define(eq=False, repr=False)
class MissingCredentials(Credentials):
    """Stands for credentials that were not found: the first request raises an error."""

    def metadata(self) -> tuple[tuple[str, str], ...]:
        raise FalServerlessError(
            "There are no credentials. Set FAL_KEY to 'ID:SECRET', keep a key in a "
            "profile: 'fal-core profile key', or log in: 'fal auth login'; or, for a server "
            'of your own, run `eval "$(fal-core server env)"`.'
        )

    def headers(self) -> dict[str, str]:
        return dict(self.metadata())


def find_credentials(
    api_key: str | None = None, profile: str | None = None, team: str | None = None
) -> Credentials:
    """
    Look up credentials, in this order: *api_key*, environment, profile, login.

    Arguments:
        profile: The profile to read, in place of the one in use.

        team: The team that a login acts for, in place of the one that ``fal team set`` has
            chosen.

    Raises:
        FalServerlessError: A key has a wrong form, or there is no such profile.
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
    known = profiles.read()
    key = known.value("key", profile)
    if key and not settings.is_set("FAL_FORCE_AUTH_BY_USER"):
        return KeyCredentials.of(key, "the profile")
    return LoginCredentials(team or known.team) if logins.exists() else MissingCredentials()
