"""
What the gateways have in common: a server of HTTP, its refusals, and tokens in URLs.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fal_server.errors import Refusal
from fal_server.listeners.http_connections import Unreadable
from fal_server.routing.headers import Headers
from fal_server.routing.refusals import describe_refusal
from fal_server.routing.routers import TOKEN

logger = logging.getLogger(__name__)

Handler = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


def serve_gateway(answer: Handler) -> web.Server:
    """
    Return what answers the requests of the connections of a gateway.

    A sender that goes away ends its request.
    """

    async def guarded(request: BaseRequest) -> web.StreamResponse:
        try:
            return await answer(request)
        except Refusal as refusal:
            return refuse(refusal)
        except web.RequestPayloadError:
            # What it says has a part of the body.
            return refuse(Unreadable())
        except web.HTTPException as error:
            return web.json_response({"detail": error.reason}, status=error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return web.json_response({"detail": "An internal error occurred."}, status=500)

    return web.Server(guarded, handler_cancellation=True)


def refuse(refusal: Refusal, headers: dict[str, str] | None = None) -> web.Response:
    """
    Return what tells a sender of *refusal*.
    """
    body, told = describe_refusal(refusal)
    return web.json_response(body, status=refusal.http, headers={**told, **(headers or {})})


def with_token(request: BaseRequest) -> Headers:
    """
    Return the headers of *request*, with the token that a url may carry instead.
    """
    token = request.query.get(TOKEN)
    if not token or "Authorization" in request.headers:
        return request.headers
    headers = CIMultiDict(request.headers)
    headers["Authorization"] = f"Bearer {token}"
    return headers


def is_websocket(request: BaseRequest) -> bool:
    """
    Tell whether *request* asks for a websocket.
    """
    return request.headers.get("Upgrade", "").lower() == "websocket"
