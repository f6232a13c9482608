"""
A function as a servable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.servables import BaseServable


class ServeWrapper(BaseServable):
    """
    Serves one function: at ``/``, or as a decorator above it says.
    """

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func

    @property
    def title(self) -> str:
        return getattr(self._func, "__name__", "function")

    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        written = getattr(self._func, "route_signature", None)
        route = written if isinstance(written, RouteSignature) else RouteSignature("/")
        return {route: self._func}
