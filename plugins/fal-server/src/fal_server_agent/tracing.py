"""
Tracing: which request an application works for, and which trace a call belongs to.
"""

from __future__ import annotations

from typing import Any

from fal_core_worker.serving import services

_HEADER = b"x-fal-request-id"

#: The environment variables in which a function finds the trace of its call.
TRACE_VARIABLES = ("TRACEPARENT", "TRACESTATE", "BAGGAGE")


def mark_requests() -> None:
    """
    Mark the lines that an application prints with the id of the request.

    The id is in a header, and is noted where uvicorn hands the request over.
    """
    try:
        from uvicorn import Config
    except ImportError:
        return
    load = Config.load

    def marked(self: Any) -> None:
        load(self)
        self.loaded_app = Marked(self.loaded_app)

    Config.load = marked  # type: ignore[method-assign]  # it calls the old one


class Marked:
    """
    An ASGI application that notes the id of each request.
    """

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        for name, value in scope.get("headers", ()):
            if name == _HEADER:
                services.request_id.set(value.decode("latin-1"))
                break
        await self._inner(scope, receive, send)
