"""
The ASGI application of a servable.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from fal_core_worker.routes import RouteSignature

if TYPE_CHECKING:
    from fal_serve.servables import BaseServable


class FalFastAPI(FastAPI):
    """
    A FastAPI application that knows its websocket routes and describes them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.websocket_routes: list[tuple[RouteSignature, Callable[..., Any]]] = []

    def add_websocket_route_with_metadata(
        self, signature: RouteSignature, endpoint: Callable[..., Any]
    ) -> None:
        """
        Add a websocket route that the OpenAPI document describes.
        """
        self.add_api_websocket_route(signature.path, endpoint, name=endpoint.__name__)
        self.websocket_routes.append((signature, endpoint))


def build_application(servable: BaseServable) -> FalFastAPI:
    """
    Return the application of *servable*.

    Raises:
        ValueError: It has no route.
    """
    application = FalFastAPI(lifespan=servable.lifespan)
    routes = servable.collect_routes()
    if not routes:
        raise ValueError("An application must have at least one route.")
    for signature, handler in routes.items():
        if signature.is_websocket:
            application.add_websocket_route_with_metadata(signature, handler)
        else:
            application.add_api_route(
                signature.path, handler, name=handler.__name__, methods=["POST"]
            )
    return application
