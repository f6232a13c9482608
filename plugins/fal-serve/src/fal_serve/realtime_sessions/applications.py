"""ASGI applications of realtime endpoints."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.realtime_endpoints import (
    MODES,
    RealtimeEndpoint,
    check_numbers,
)

if TYPE_CHECKING:
    from fal_serve.realtime_sessions.sessions import RealtimeRoute


class RealtimeApplication:
    """The ASGI application of one realtime endpoint."""

    def __init__(
        self, handler: Callable[..., Any], signature: RouteSignature, batch_wait: float
    ) -> None:
        self._arguments = handler, signature, batch_wait

    @functools.cached_property
    def _route(self) -> RealtimeRoute:
        # Imported for the first session: few services have one.
        from fal_serve.realtime_sessions.messages import make_route

        return make_route(*self._arguments)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        from fal_serve.realtime_sessions.sessions import RealtimeSession

        await RealtimeSession(self._route, receive, send).run()


def realtime_application(
    signature: RouteSignature, handler: Callable[..., Any]
) -> RealtimeApplication | None:
    """
    Return the application that serves a route's websockets; None if the handler does so.

    Raises:
        ValueError: The route, which was written by hand, cannot be served.
    """
    mode = signature.realtime_mode
    if isinstance(handler, RealtimeEndpoint):
        return RealtimeApplication(
            handler.original_func, handler.route_signature, handler.batch_wait
        )
    if mode is None:
        return None
    if mode not in MODES.values():
        known = ", ".join(map(repr, MODES.values()))
        raise declaration_error(
            f"The route {signature.path!r} has the realtime_mode {mode!r}. Known: {known}."
        )
    check_numbers(
        handler, buffering=signature.buffering, session_timeout=signature.session_timeout
    )
    return RealtimeApplication(handler, signature, getattr(handler, "batch_wait", 0.0))
