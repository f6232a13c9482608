"""Facts that a service has told, which are not asked for with every request."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any

from fal_host_serverless.wire import settings
from fal_host_serverless.wire.rest import RestClient

#: Seconds for which a fact holds.
_KEPT = 300.0

_lock = threading.Lock()
#: The facts, each with the time until which it holds.
_facts: dict[Hashable, tuple[float, Any]] = {}


def _make_lock() -> None:
    """Replace the lock, which another thread may have held when this process was forked."""
    global _lock
    _lock = threading.Lock()


os.register_at_fork(after_in_child=_make_lock)


def find_nickname(rest: RestClient) -> str:
    """
    Return the nickname of the account that *rest* acts for.

    Raises:
        FalServerlessError: The service cannot be reached, or answered with an error.
    """

    def ask() -> str:
        user: Mapping[str, Any] = rest.send("GET", "/users/current").json()
        return str(user["nickname"])

    return str(_find(_account_of(rest), ask))


def forget_nickname(rest: RestClient) -> None:
    """Ask for the nickname again the next time: the account may have another one."""
    with _lock:
        _facts.pop(_account_of(rest), None)


def has_ability(rest: RestClient, ability: str) -> bool:
    """
    Return whether the service of *rest* says that it can do something beyond fal's protocol.

    Raises:
        FalServerlessError: The service cannot be reached.
    """
    url = settings.rest_url(rest.host)
    # What it cannot do is asked for each time: it may be replaced by one that can.
    return bool(_find((url, ability), lambda: ability in rest.abilities()))


def _account_of(rest: RestClient) -> Hashable:
    """Return what is different for each account of each service."""
    return settings.rest_url(rest.host), *sorted(rest.credentials.headers().items())


def _find(key: Hashable, ask: Callable[[], Any]) -> Any:
    now = time.monotonic()
    with _lock:
        for old in [each for each, (until, _) in _facts.items() if until < now]:
            del _facts[old]
        if key in _facts:
            return _facts[key][1]
    fact = ask()
    if fact:
        with _lock:
            _facts[key] = now + _KEPT, fact
    return fact
