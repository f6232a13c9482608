"""The HTTP server of the gateways: error responses, tokens in URLs, and upgrades."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fal_server.errors import Forbidden, Refusal
from fal_server.gateways.cross_origin import allow_origin, answer_preflight, is_preflight
from fal_server.listeners.http_connections import Unreadable, begin
from fal_server.routing.headers import Headers
from fal_server.routing.refusals import describe_refusal
from fal_server.routing.routers import TOKEN

logger = logging.getLogger(__name__)

#: The code with which a websocket is closed whose key was revoked: a violated policy.
REVOKED = 1008

Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


def serve_gateway(answer: Handler, *, cors: bool = True) -> web.Server:
    """
    Return the server of a gateway, which calls *answer* for each request.

    Errors become JSON responses. A request is cancelled when its sender disconnects.

    Arguments:
        cors: Whether pages of all origins may send requests from a browser. Preflights are
            then answered here: they need no key, and reach no application.
    """

    async def handle(request: BaseRequest) -> web.StreamResponse:
        begin(request)
        if not cors:
            return await respond(request)
        if is_preflight(request):
            return answer_preflight(request)
        response = await respond(request)
        if not response.prepared:
            allow_origin(request, response.headers)
        return response

    async def respond(request: BaseRequest) -> web.StreamResponse:
        try:
            if "Service-Worker" in request.headers:
                # It would see requests to other applications, which have the same origin.
                raise Forbidden(
                    "Applications have no service workers: all of them have one origin."
                )
            return await answer(request)
        except Refusal as refusal:
            return make_error(refusal)
        except web.RequestPayloadError:
            # Its message contains a part of the body.
            return make_error(Unreadable())
        except web.HTTPException as error:
            return web.json_response({"detail": error.reason}, status=error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            # Not its path, in which there may be anything.
            logger.exception("A %s request through a gateway failed", request.method)
            return web.json_response({"detail": "An internal error occurred."}, status=500)

    return web.Server(handle, handler_cancellation=True)


def make_error(refusal: Refusal, headers: dict[str, str] | None = None) -> web.Response:
    """
    Return the response for *refusal*.

    Arguments:
        headers: Headers to add.
    """
    body, described = describe_refusal(refusal)
    return web.json_response(
        body, status=refusal.http, headers={**described, **(headers or {})}
    )


def with_token(request: BaseRequest) -> Headers:
    """
    Return the headers of *request*. A token in the query becomes ``Authorization`` if there
    is none.
    """
    token = request.query.get(TOKEN)
    if not token or "Authorization" in request.headers:
        return request.headers
    headers = CIMultiDict(request.headers)
    headers["Authorization"] = f"Bearer {token}"
    return headers


def is_websocket(request: BaseRequest) -> bool:
    """Return whether *request* asks for an upgrade to a websocket."""
    return request.headers.get("Upgrade", "").lower() == "websocket"
