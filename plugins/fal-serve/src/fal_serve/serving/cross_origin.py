"""Cross-origin requests (CORS): which responses a browser gives to the pages of other origins."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_ORIGIN, _ALLOW_ORIGIN = b"origin", b"access-control-allow-origin"
_WANTED_METHOD = b"access-control-request-method"
_WANTED_HEADERS = b"access-control-request-headers"

#: The headers of a response to another origin. Without Access-Control-Allow-Credentials a
#: browser sends no cookies, and the star stands for all headers that a page may read; those
#: of the service are named for browsers that do not know it.
_ALLOWED = (
    (_ALLOW_ORIGIN, b"*"),
    (
        b"access-control-expose-headers",
        b"*, x-fal-request-id, x-fal-billable-units, x-fal-error-type, x-fal-runner-hints, "
        b"x-fal-cdn-token",
    ),
)
_METHODS = b"GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
#: Seconds for which a browser remembers the response to a preflight.
_REMEMBERED = b"600"
#: How an application responds to a preflight that it does not know.
_UNKNOWN = (404, 405)


class CrossOrigin:
    """
    An ASGI application that lets pages of any origin send requests to another.

    What the inner application says of cross-origin requests itself is left as it is.

    Arguments:
        application: Responds to requests.

        routes: Responds to preflights, if the service has a rule of its own for them. They
            bypass what *application* does for each request: they wait for no turn.
    """

    def __init__(self, application: ASGIApp, routes: ASGIApp) -> None:
        self._application = application
        self._routes = routes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or all(name != _ORIGIN for name, _ in scope["headers"]):
            await self._application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if scope["method"] == "OPTIONS" and _WANTED_METHOD in headers:
            preflight = PreflightResponse(send, headers.get(_WANTED_HEADERS, b""))
            await self._routes(scope, receive, preflight.send)
            return

        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = message.get("headers") or ()
                if all(name != _ALLOW_ORIGIN for name, _ in given):
                    message = {**message, "headers": [*given, *_ALLOWED]}
            await send(message)

        await self._application(scope, receive, send_allowed)


class PreflightResponse:
    """
    The response to a preflight: that of the application, or that everything is allowed if
    the application does not know the method.

    Arguments:
        wanted: The headers that the page wants to send.
    """

    def __init__(self, send: Send, wanted: bytes) -> None:
        self._send = send
        self._wanted = wanted
        self._is_replaced = False

    async def send(self, message: Any) -> None:
        """Send a message of the application, or drop it after a response in its place."""
        if self._is_replaced:
            return
        if message["type"] == "http.response.start" and message["status"] in _UNKNOWN:
            self._is_replaced = True
            headers = [
                (_ALLOW_ORIGIN, b"*"),
                (b"access-control-allow-methods", _METHODS),
                (b"access-control-max-age", _REMEMBERED),
                (b"vary", _WANTED_HEADERS),
            ]
            if self._wanted:
                headers.append((b"access-control-allow-headers", self._wanted))
            start = {"type": "http.response.start", "status": 204, "headers": headers}
            await self._send(start)
            await self._send({"type": "http.response.body", "body": b""})
            return
        await self._send(message)
