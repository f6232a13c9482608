"""
Logins: the token that ``fal auth login``, or ``fal-core server login``, has left.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import time
from typing import TYPE_CHECKING, Any

from fal_core.errors import FalServerlessError
from fal_core.events import Log
from fal_core.sinks.printing import print_log

if TYPE_CHECKING:
    from pathlib import Path

    from fal_host_serverless.credentials import Credentials

#: Seconds before its end that a token counts as over, as for fal's own tools.
_EARLY = 30 * 60
#: Whom it was told that a key knows no teams.
_told: set[tuple[str, str, str]] = set()


def path() -> Path:
    """
    Return where the token is kept.
    """
    from pathlib import Path

    return Path(os.environ.get("FAL_HOME_DIR") or "~/.fal").expanduser() / "auth0_token"


def exists() -> bool:
    """
    Tell whether somebody has logged in.
    """
    return path().is_file()


def read_token() -> str:
    """
    Return the token that requests carry.

    Raises:
        FalServerlessError: There is none that is still good.
    """
    try:
        lines = path().read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise FalServerlessError(f"The login in {path()} cannot be read: {error}") from error
    # The first line renews the second, which only fal's own tools can do.
    token = lines[1].strip() if len(lines) > 1 else ""
    if _end_of(token) < time.time() + _EARLY:
        raise FalServerlessError(
            f"The login in {path()} is over. Renew it by 'fal auth whoami', or log in again: "
            "'fal auth login', or 'fal-core server login' for a server of your own."
        )
    return token


def _end_of(token: str) -> float:
    """
    Return when *token* ends; its signature is the service's to check.
    """
    try:
        body = token.split(".")[1]
        facts = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        return float(facts["exp"])
    except (IndexError, KeyError, TypeError, ValueError):
        return 0.0


@functools.lru_cache(maxsize=64)
def find_account(address: str, token: str, team: str) -> str:
    """
    Return the id of the account that *team* is, for who has *token*.

    Raises:
        FalServerlessError: They belong to no such team.
    """
    from fal_host_serverless.credentials import Credentials
    from fal_host_serverless.rest import RestClient

    with RestClient(address, Credentials()) as rest:
        headers = {"Authorization": f"Bearer {token}"}
        accounts: list[dict[str, Any]] = rest.send(
            "GET", "/users/teams", headers=headers
        ).json()
    for account in accounts:
        if account["nickname"].lower() == team.lower():
            return str(account["user_id"])
    known = ", ".join(sorted(account["nickname"] for account in accounts)) or "none"
    raise FalServerlessError(f"You belong to no team {team!r}. You may act for: {known}.")


def tell_of_key(credentials: Credentials, address: str, key_id: str, team: str) -> None:
    """
    Say that *team* is left aside, unless the key is that team's; once in a process.
    """
    from fal_host_serverless.rest import RestClient

    if (address, key_id, team) in _told:
        return
    _told.add((address, key_id, team))
    try:
        with RestClient(address, credentials) as rest:
            owner = str(rest.send("GET", "/users/current").json()["nickname"])
    except FalServerlessError:
        # A key need not be one that may ask whose it is.
        owner = ""
    if owner.lower() == team.lower():
        return
    whose = f"and this one is {owner}'s" if owner else "whoever made it"
    line = (
        f"Team {team!r} is left aside: a key belongs to one account, {whose}. To act for a "
        "team by a login, set FAL_FORCE_AUTH_BY_USER=1."
    )
    print_log(Log(line, "WARNING", "BRIDGE"))
