"""Callers: who sends a request, and what they may do."""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fal_server.access.permissions import require


@attrs.frozen(kw_only=True)
class Caller:
    """
    Who sends a request.

    Attributes:
        user_id: The account that the request acts for: a user, or a team of theirs.

        nickname: The nickname of the account, as in URLs.

        key_id: The id of the key, which for a token is the key that made it. Empty for a
            request that was accepted earlier.

        purpose: What the token is for that the caller has shown. Empty for a key.

        applications: The applications that may be called: the account and the alias of
            each. None for all.

        is_core: Whether the client is fal-core's. It gets the URLs of a service once that is
            ready, and others at once.

        server_host: What the caller names the server: the host of its API, perhaps with a
            port. Empty where that is unknown.

        trace: The environment variables with the caller's trace.
    """

    user_id: str
    nickname: str
    permissions: frozenset[str] = attrs.field(repr=False)
    key_id: str = ""
    purpose: str = ""
    applications: frozenset[tuple[str, str]] | None = None
    is_core: bool = False
    server_host: str = ""
    trace: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    @property
    def is_limited(self) -> bool:
        """Whether the caller has shown a token for one purpose."""
        return self.applications is not None

    def require(self, permission: str) -> None:
        """
        Check that the caller has *permission*.

        Raises:
            Forbidden: They do not.
        """
        require(self.permissions, permission)
