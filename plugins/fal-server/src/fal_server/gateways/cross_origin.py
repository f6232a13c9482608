"""Cross-origin requests (CORS): which responses a browser gives to the pages of other origins."""

from __future__ import annotations

from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

_ALLOW_ORIGIN = "Access-Control-Allow-Origin"
_WANTED_METHOD = "Access-Control-Request-Method"
_WANTED_HEADERS = "Access-Control-Request-Headers"

#: The headers of a response that a page may read: the star stands for all, and those of the
#: gateways are named for browsers that do not know it.
_EXPOSED = (
    "*, x-fal-request-id, x-fal-billable-units, x-fal-error-type, x-fal-request-timeout-type, "
    "x-fal-runner-hints, x-fal-cdn-token, idempotent-replayed, retry-after"
)


def is_preflight(request: BaseRequest) -> bool:
    """Return whether a browser asks what a page may send, before it sends that."""
    return (
        request.method == "OPTIONS"
        and "Origin" in request.headers
        and _WANTED_METHOD in request.headers
    )


def answer_preflight(request: BaseRequest) -> web.Response:
    """Return the response that lets a page send its request, with all of its headers."""
    headers = {
        _ALLOW_ORIGIN: "*",
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        # Seconds for which a browser remembers it.
        "Access-Control-Max-Age": "600",
        "Vary": _WANTED_HEADERS,
    }
    wanted = request.headers.get(_WANTED_HEADERS)
    if wanted is not None:
        headers["Access-Control-Allow-Headers"] = wanted
    return web.Response(status=204, headers=headers)


def allow_origin(request: BaseRequest, headers: CIMultiDict[str]) -> None:
    """
    Let the page that has sent *request* read the response with *headers*, unless the
    application says itself who may. A browser sends no cookies to it.
    """
    if "Origin" in request.headers and _ALLOW_ORIGIN not in headers:
        headers[_ALLOW_ORIGIN] = "*"
        headers.setdefault("Access-Control-Expose-Headers", _EXPOSED)
