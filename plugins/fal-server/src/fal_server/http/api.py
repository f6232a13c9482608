"""The HTTP API: its routes, their permissions, and error responses."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

import attrs
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.access.identities import CallerIdentity
from fal_server.errors import Forbidden, Refusal
from fal_server.http.bodies import LARGEST_BODY
from fal_server.http.missing_features import MissingFeatures
from fal_server.listeners.http_connections import Unreadable, recognise
from fal_server.telemetry.server_metrics import ServerMetrics

logger = logging.getLogger(__name__)

Answer = Callable[[web.Request, Caller], Awaitable[web.StreamResponse]]
OpenAnswer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@attrs.frozen
class ApiRoute:
    """
    A route for authenticated callers.

    Attributes:
        permission: The permission that a caller needs.

        purposes: The purposes of the limited tokens that are good here. Others are refused,
            also those with the permission.
    """

    method: str
    path: str
    permission: str
    answer: Answer
    purposes: frozenset[str] = frozenset()


@attrs.frozen
class OpenRoute:
    """A route without authentication."""

    method: str
    path: str
    answer: OpenAnswer


def make_application(
    identity: CallerIdentity, metrics: ServerMetrics, routes: Iterable[ApiRoute | OpenRoute]
) -> web.Application:
    """
    Make the aiohttp application with *routes*.

    A :class:`Refusal` becomes a response with its status and ``{"detail": …}``, and a route
    that there is not a 501. Any other exception is logged, and becomes a 500 without its
    message.
    """
    application = web.Application(
        middlewares=[_count_requests(metrics), _handle_errors, _answer_missing_routes()],
        client_max_size=LARGEST_BODY,
    )
    for route in routes:
        if isinstance(route, OpenRoute):
            application.router.add_route(route.method, route.path, route.answer)
        else:
            application.router.add_route(
                route.method, route.path, _authenticated(identity, route)
            )
    return application


def _authenticated(identity: CallerIdentity, route: ApiRoute) -> OpenAnswer:
    async def handle(request: web.Request) -> web.StreamResponse:
        caller = await identity.authenticate_http(request.headers)
        recognise(request)
        if caller.is_limited and caller.purpose not in route.purposes:
            raise Forbidden("The token is for something else. Use a key, or the right token.")
        caller.require(route.permission)
        return await route.answer(request, caller)

    return handle


def _count_requests(metrics: ServerMetrics) -> Any:
    """
    Return a middleware that counts requests by route. The label is the pattern of the route,
    so that clients cannot add labels.
    """

    @web.middleware
    async def count(request: web.Request, handler: OpenAnswer) -> web.StreamResponse:
        response = await handler(request)
        resource = request.match_info.route.resource
        route = resource.canonical if resource is not None else "none"
        method = request.method if resource is not None else "any"
        metrics.requests.labels(method, route, response.status).inc()
        if response.status == 401:
            metrics.refused_keys.inc()
        return response

    return count


def _answer_missing_routes() -> Any:
    """Return a middleware that answers requests for routes that there are not."""
    missing = MissingFeatures()

    @web.middleware
    async def answer(request: web.Request, handler: OpenAnswer) -> web.StreamResponse:
        if isinstance(request.match_info.http_exception, web.HTTPNotFound):
            return missing.answer(request)
        return await handler(request)

    return answer


@web.middleware
async def _handle_errors(request: web.Request, handler: OpenAnswer) -> web.StreamResponse:
    try:
        return await handler(request)
    except Refusal as refusal:
        logger.info(
            "%s refused: %s: %s",
            _describe(request),
            type(refusal).__name__,
            refusal,
        )
        after = refusal.retry_after
        headers = {} if after is None else {"Retry-After": str(after)}
        return web.json_response({"detail": str(refusal)}, status=refusal.http, headers=headers)
    except web.HTTPException as error:
        if error.status < 400:
            raise
        return web.json_response({"detail": error.reason}, status=error.status)
    except web.RequestPayloadError:
        # Its message contains a part of the body.
        return web.json_response({"detail": str(Unreadable())}, status=400)
    except UnicodeEncodeError:
        # A path, a query or JSON contains a lone surrogate.
        detail = "The request contains text that is not valid Unicode."
        return web.json_response({"detail": detail}, status=422)
    except ConnectionError:
        raise
    except Exception:
        logger.exception("%s failed", _describe(request))
        return web.json_response({"detail": "An internal error occurred."}, status=500)


def _describe(request: web.Request) -> str:
    """
    Return the method and the route of a request for the log, without its path, which may
    contain a token.
    """
    resource = request.match_info.route.resource
    return f"{request.method} {resource.canonical if resource is not None else '(no route)'}"
