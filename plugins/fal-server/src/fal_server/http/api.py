"""
The HTTP side of the API: what each route asks for, and how it is refused.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import Identity
from fal_server.errors import Refusal
from fal_server.listeners.http_connections import Unreadable
from fal_server.listeners.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

Answer = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
OpenAnswer = Callable[[web.Request], Awaitable[web.StreamResponse]]

#: The largest body that is taken where a route says nothing else.
LARGEST_BODY = 8 << 20


@attrs.frozen
class ApiRoute:
    """
    What answers a method and a path.

    Attributes:
        permission: What the caller must have for it.
    """

    method: str
    path: str
    permission: str
    answer: Answer


@attrs.frozen
class OpenRoute:
    """
    What answers a method and a path for anybody.
    """

    method: str
    path: str
    answer: OpenAnswer


def make_application(
    identity: Identity, metrics: ServerMetrics, routes: Iterable[ApiRoute | OpenRoute]
) -> web.Application:
    """
    Make the application that answers *routes*.

    What a route raises as a :class:`Refusal` is told with its status, as ``{"detail":
    …}``; anything else is logged, and told as 500 without its text.
    """
    application = web.Application(
        middlewares=[_counted(metrics), _refusals], client_max_size=LARGEST_BODY
    )
    for route in routes:
        if isinstance(route, OpenRoute):
            application.router.add_route(route.method, route.path, route.answer)
        else:
            application.router.add_route(route.method, route.path, _guard(identity, route))
    return application


def _guard(identity: Identity, route: ApiRoute) -> OpenAnswer:
    async def guarded(request: web.Request) -> web.StreamResponse:
        caller = await identity.authenticate_http(request.headers)
        caller.require(route.permission)
        return await route.answer(request, caller)

    return guarded


def _counted(metrics: ServerMetrics) -> Any:
    """
    Make what counts requests by their route, so that nobody adds to the names.
    """

    @web.middleware
    async def counted(request: web.Request, handler: OpenAnswer) -> web.StreamResponse:
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        method = request.method if resource is not None else "any"
        metrics.requests.labels(method, route, response.status).inc()
        if response.status == 401:
            metrics.refused_keys.inc()
        return response

    return counted


@web.middleware
async def _refusals(request: web.Request, handler: OpenAnswer) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        logger.info(
            "%s %s refused: %s: %s",
            request.method,
            request.path,
            type(refusal).__name__,
            refusal,
        )
        return web.json_response({"detail": str(refusal)}, status=refusal.http)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return web.json_response({"detail": error.reason}, status=error.status)
    except web.RequestPayloadError:
        # What it says has a part of the body.
        return web.json_response({"detail": str(Unreadable())}, status=400)
    except UnicodeEncodeError:
        # Half of a surrogate pair, which is no text, in a path, a query or JSON.
        return web.json_response({"detail": "The request has what is no text."}, status=422)
    except ConnectionError:
        raise
    except Exception:
        logger.exception("%s failed", _where(request))
        return web.json_response({"detail": "An internal error occurred."}, status=500)


def _where(request: web.Request) -> str:
    """
    Name a request for the log: its route, as a path may have a token in it.
    """
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else '(no route)'}"
