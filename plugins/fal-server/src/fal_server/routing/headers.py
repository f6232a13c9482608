"""
The headers of requests and responses on their way through the server.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from multidict import CIMultiDict, CIMultiDictProxy

from fal_server.errors import Invalid
from fal_server.specs.request_retries import NEEDS_RETRY, STOP_RUNNER

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

#: Headers that belong to one connection, and those of which a runner is told nothing.
_HOP = frozenset(
    {
        "connection",
        "keep-alive",
        "proxy-authenticate",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_OURS = _HOP | {
    "auth-key",
    "auth-key-id",
    "authorization",
    "content-length",
    "expect",
    "fal-user-id",
    "host",
    "x-fal-user-id",
}

#: Headers of a runner's answer that nobody else is told.
_NOT_TOLD = _HOP | {"date", NEEDS_RETRY, STOP_RUNNER}

REQUEST_ID = "x-fal-request-id"
START_TIMEOUT = "x-fal-request-timeout"


def new_request_id() -> str:
    """
    Return the id of a new request.
    """
    return str(uuid.uuid4())


def start_timeout(headers: Mapping[str, str]) -> float | None:
    """
    Return how long the sender would wait for a runner, None where nothing is said.

    Raises:
        Invalid: It is no number.
    """
    written = headers.get(START_TIMEOUT)
    if written is None:
        return None
    try:
        seconds = float(written)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise Invalid(f"{START_TIMEOUT} must be a number of seconds, not {written[:40]!r}.")
    return seconds


def to_runner(
    headers: Iterable[tuple[str, str]], request_id: str, path: str
) -> CIMultiDict[str]:
    """
    Return the headers that a runner is sent.
    """
    kept: CIMultiDict[str] = CIMultiDict()
    named: list[str] = []
    for name, value in headers:
        lower = name.lower()
        if lower == "connection":
            named += value.split(",")
        elif lower not in _OURS and not lower.startswith("sec-websocket"):
            kept.add(name, value)
    _drop(kept, named)
    kept[REQUEST_ID] = request_id
    kept["x-fal-endpoint"] = path
    kept.setdefault("x-fal-object-lifecycle-preference", "{}")
    return kept


def from_runner(headers: Headers, request_id: str) -> CIMultiDict[str]:
    """
    Return the headers that the sender is answered with.
    """
    kept: CIMultiDict[str] = CIMultiDict()
    named: list[str] = []
    for name, value in headers.items():
        lower = name.lower()
        if lower == "connection":
            named += value.split(",")
        elif lower not in _NOT_TOLD:
            kept.add(name, value)
    _drop(kept, named)
    kept[REQUEST_ID] = request_id
    return kept


def _drop(headers: CIMultiDict[str], named: Iterable[str]) -> None:
    """
    Drop what the header ``Connection`` names: it is for one connection too.
    """
    for name in named:
        headers.popall(name.strip(), None)
