"""Logins: the token that ``fal auth login`` or ``fal-core server login`` has stored."""

from __future__ import annotations

import base64
import functools
import json
import os
import time
from typing import TYPE_CHECKING, Any

import attrs

from fal_core.errors import FalServerlessError
from fal_core.events import Log
from fal_core.sinks import print_log

if TYPE_CHECKING:
    from pathlib import Path

    from fal_host_serverless.wire.identities import Identity

#: Seconds before its end at which a token counts as expired, as for fal's own tools.
_EARLY = 30 * 60
#: The address, key id and team of each warning that was printed.
_warned: set[tuple[str, str, str]] = set()


@attrs.frozen(repr=False)
class _Bearer:
    """A token alone, without the account that it acts for."""

    token: str

    def metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self.token}"),)

    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


def path() -> Path:
    """Return the file of the token."""
    from pathlib import Path

    return Path(os.environ.get("FAL_HOME_DIR") or "~/.fal").expanduser() / "auth0_token"


def exists() -> bool:
    """Return whether somebody has logged in."""
    return path().is_file()


def read_token() -> str:
    """
    Return the access token that requests carry.

    Raises:
        FalServerlessError: The file cannot be read, or the token has expired.
    """
    try:
        lines = path().read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise FalServerlessError(f"The login in {path()} cannot be read: {error}") from error
    # The first line is the refresh token, which only fal's own tools can use.
    token = lines[1].strip() if len(lines) > 1 else ""
    if _expiry_of(token) < time.time() + _EARLY:
        raise FalServerlessError(
            f"The login in {path()} has expired. Renew it by 'fal auth whoami', or log in "
            "again: 'fal auth login', or 'fal-core server login' for a server of your own."
        )
    return token


def _expiry_of(token: str) -> float:
    """Return the Unix time at which *token* expires; its signature is checked by the service."""
    # By hand: PyJWT, with cryptography beside it, takes 0.13 s to import.
    try:
        body = token.split(".")[1]
        claims = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


@functools.lru_cache(maxsize=64)
def find_account(address: str, token: str, team: str) -> str:
    """
    Return the id of the account of *team*, to which the user of *token* belongs.

    Raises:
        FalServerlessError: The user belongs to no such team.
    """
    from fal_host_serverless.wire.rest import RestClient

    with RestClient(address, _Bearer(token)) as rest:
        accounts: list[dict[str, Any]] = rest.send("GET", "/users/teams").json()
    for account in accounts:
        if account["nickname"].lower() == team.lower():
            return str(account["user_id"])
    known = ", ".join(sorted(account["nickname"] for account in accounts)) or "none"
    raise FalServerlessError(f"You belong to no team {team!r}. You may act for: {known}.")


def warn_of_key(credentials: Identity, address: str, key_id: str, team: str) -> None:
    """Print once that a key ignores *team*, unless the key belongs to that team."""
    from fal_host_serverless.wire.rest import RestClient

    if (address, key_id, team) in _warned:
        return
    _warned.add((address, key_id, team))
    try:
        with RestClient(address, credentials) as rest:
            owner = str(rest.send("GET", "/users/current").json()["nickname"])
    except FalServerlessError:
        # A key may lack the permission to ask whose it is.
        owner = ""
    if owner.lower() == team.lower():
        return
    whose = f", and this one to {owner!r}" if owner else ""
    line = (
        f"Team {team!r} is ignored: a key belongs to one account{whose}. To act for a team "
        "by a login, set FAL_FORCE_AUTH_BY_USER=1."
    )
    print_log(Log(line, "WARNING", "BRIDGE"))
