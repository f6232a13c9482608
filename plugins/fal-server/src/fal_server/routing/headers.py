"""Headers: what the gateways change in the headers of requests and responses."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping

from multidict import CIMultiDict, CIMultiDictProxy

from fal_server.errors import Invalid
from fal_server.specs.request_retries import NEEDS_RETRY, STOP_RUNNER
from fal_server.telemetry.contexts import trace_headers

Headers = CIMultiDict[str] | CIMultiDictProxy[str]

#: Hop-by-hop headers, which belong to one connection.
_HOP_BY_HOP = frozenset(
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

REQUEST_ID = "x-fal-request-id"
START_TIMEOUT = "x-fal-request-timeout"

#: The header that tells a runner the number of the attempt; the first one is 1.
ATTEMPT = "x-fal-request-attempt"

_ENDPOINT = "x-fal-endpoint"

#: Headers of requests that are not forwarded to runners: credentials, and what applications
#: take for the word of the gateway.
_KEPT_FROM_RUNNERS = _HOP_BY_HOP | {
    ATTEMPT,
    REQUEST_ID,
    _ENDPOINT,
    "auth-key",
    "auth-key-id",
    "authorization",
    "content-length",
    "expect",
    "fal-core-relay",
    "fal-user-id",
    "host",
    "x-fal-caller-user-id",
    "x-fal-user-id",
}

#: Headers of responses that are not forwarded to senders. All applications have one origin in
#: a browser: a service worker of one may not see the pages of the others.
_KEPT_FROM_SENDERS = _HOP_BY_HOP | {
    "date",
    "service-worker-allowed",
    NEEDS_RETRY,
    STOP_RUNNER,
}


def new_request_id() -> str:
    """Return the id of a new request."""
    return str(uuid.uuid4())


def start_timeout(headers: Mapping[str, str]) -> float | None:
    """
    Return the seconds that the sender waits for a runner at most, or None without a limit.

    Raises:
        Invalid: The header is not a positive number.
    """
    text = headers.get(START_TIMEOUT)
    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < 1e9:
        raise Invalid(f"{START_TIMEOUT} must be a number of seconds, not {text[:40]!r}.")
    return seconds


#: The headers with what a sender alone may use, or has asked for: theirs are not sent in the
#: name of somebody else.
OF_SENDERS = frozenset(
    (
        *("x-app-fal-upload-policy", "x-fal-cdn-token", "x-fal-object-lifecycle-preference"),
        *("traceparent", "tracestate", "baggage"),
    )
)


def to_runner(
    headers: Iterable[tuple[str, str]], request_id: str, path: str
) -> CIMultiDict[str]:
    """Return the headers of a request to a runner."""
    forwarded: CIMultiDict[str] = CIMultiDict()
    connection_headers: list[str] = []
    for name, value in headers:
        # Servers of the standard of CGI, as of WSGI, do not tell an underscore from a dash.
        lower = name.lower().replace("_", "-")
        if lower == "connection":
            connection_headers += value.split(",")
        elif lower not in _KEPT_FROM_RUNNERS and not lower.startswith("sec-websocket"):
            forwarded.add(name, value)
    _drop(forwarded, connection_headers)
    # That of the gateway, where it makes spans, is the parent of what a runner does.
    forwarded.update(trace_headers.get({}))
    forwarded[REQUEST_ID] = request_id
    forwarded[_ENDPOINT] = path
    forwarded.setdefault("x-fal-object-lifecycle-preference", "{}")
    return forwarded


def from_runner(headers: Headers, request_id: str) -> CIMultiDict[str]:
    """Return the headers of a response to the sender."""
    forwarded: CIMultiDict[str] = CIMultiDict()
    connection_headers: list[str] = []
    for name, value in headers.items():
        lower = name.lower()
        if lower == "connection":
            connection_headers += value.split(",")
        elif lower not in _KEPT_FROM_SENDERS:
            forwarded.add(name, value)
    _drop(forwarded, connection_headers)
    forwarded[REQUEST_ID] = request_id
    return forwarded


def without_hops(headers: Headers) -> CIMultiDict[str]:
    """Return headers without those that belong to one connection."""
    forwarded: CIMultiDict[str] = CIMultiDict()
    for name, value in headers.items():
        if name.lower() not in _HOP_BY_HOP:
            forwarded.add(name, value)
    _drop(forwarded, headers.get("Connection", "").split(","))
    return forwarded


def _drop(headers: CIMultiDict[str], names: Iterable[str]) -> None:
    """Drop the headers that ``Connection`` names, which are hop-by-hop as well."""
    for name in names:
        headers.popall(name.strip(), None)
