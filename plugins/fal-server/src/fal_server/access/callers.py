"""
Callers: who asks, and what they may.
"""

from __future__ import annotations

from collections.abc import Mapping

import attrs

from fal_server.access.permissions import require


@attrs.frozen(kw_only=True)
class Caller:
    """
    Who asks.

    Attributes:
        user_id: The account that is acted for: a user, or a team of theirs.

        nickname: Its nickname, as it stands in urls.

        key_id: The key that was shown. Empty where it was a token.

        applications: The aliases of the applications that may be called. None for all.

        is_core: Whether it is a client of fal-core, which is told of a service once it
            answers.

        trace: The variables that tell a function of the caller's trace.
    """

    user_id: str
    nickname: str
    permissions: frozenset[str] = attrs.field(repr=False)
    key_id: str = ""
    applications: frozenset[str] | None = None
    is_core: bool = False
    trace: Mapping[str, str] = attrs.field(factory=dict, eq=False, repr=False)

    def require(self, permission: str) -> None:
        """
        See that the caller has *permission*.

        Raises:
            Forbidden: They do not.
        """
        require(self.permissions, permission)
