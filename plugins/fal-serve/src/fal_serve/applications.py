"""
The ASGI application of a servable.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.datastructures import Default
from fastapi.routing import APIRoute
from starlette.responses import Response

from fal_core_worker.serving import services
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.adapters import adapt, fixes_content, is_generator
from fal_serve.answers import JSONAnswer, encode_all
from fal_serve.cancellation import connection
from fal_serve.endpoints import check_plain
from fal_serve.events import EventStream
from fal_serve.failures import answer_all, install
from fal_serve.logs import original
from fal_serve.realtime_endpoints import conversations_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from fal_serve.servables import BaseServable


class NothingToServe(services.StartupError, ValueError):
    """
    A servable has no route.
    """


class FalFastAPI(FastAPI):
    """
    A FastAPI application that knows its websocket routes and describes them.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.websocket_routes: list[tuple[RouteSignature, Callable[..., Any]]] = []
        self.streams: dict[str, Callable[..., Any]] = {}
        install(self)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await super().__call__(scope, receive, send)
            return
        connection.set((receive, asyncio.get_running_loop()))
        try:
            await super().__call__(scope, receive, send)
        except RuntimeError as error:
            first = original(error)
            if first is error:
                raise
            raise first from first.__cause__

    def add_api_route(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        # As a default it leaves answers that have a type to pydantic.
        options.setdefault("response_class", Default(JSONAnswer))
        super().add_api_route(path, endpoint, **options)
        route = self.routes[-1]
        assert isinstance(route, APIRoute)
        encode_all(route)

    def build_middleware_stack(self) -> ASGIApp:
        stack = super().build_middleware_stack()
        answer_all(stack)
        return stack

    def add_websocket_route_with_metadata(
        self, signature: RouteSignature, endpoint: Callable[..., Any]
    ) -> None:
        """
        Add a websocket route that the OpenAPI document describes.
        """
        conversations = conversations_of(signature, endpoint)
        if conversations is None:
            check_plain(signature)
            self.add_api_websocket_route(signature.path, endpoint, name=endpoint.__name__)
        else:
            # A realtime endpoint serves its websockets itself, with nothing between.
            served: Any = conversations
            self.router.add_websocket_route(signature.path, served, name=endpoint.__name__)
        self.websocket_routes.append((signature, endpoint))

    def add_endpoint(self, signature: RouteSignature, handler: Callable[..., Any]) -> None:
        """
        Add a route that answers POST.
        """
        check_plain(signature)
        options: dict[str, Any] = {}
        if is_generator(handler):
            options["response_class"] = EventStream
            self.streams[signature.path] = handler
        elif fixes_content(signature):
            # It says in the document what the answer is.
            options["response_class"] = type(
                "Answer", (Response,), {"media_type": signature.content_type}
            )
        adapted = adapt(signature, handler)
        name = getattr(handler, "__name__", "endpoint")
        self.add_api_route(signature.path, adapted, name=name, methods=["POST"], **options)
        method = getattr(signature.health_check, "method", None)
        if method is not None and method.upper() != "POST":
            self.add_api_route(
                signature.path,
                adapted,
                name=name,
                methods=[method.upper()],
                include_in_schema=False,
                **options,
            )

    def openapi(self) -> dict[str, Any]:
        """
        Return the OpenAPI document, with what fal adds to it.
        """
        if self.openapi_schema is None:
            from fal_serve.documents import complete

            complete(super().openapi(), self)
        assert self.openapi_schema is not None
        return self.openapi_schema


def build_application(servable: BaseServable) -> FalFastAPI:
    """
    Return the application of *servable*.

    Raises:
        NothingToServe: It has no route.
    """
    application = FalFastAPI(
        lifespan=servable.lifespan,
        root_path=os.environ.get("FAL_APP_ROOT_PATH", ""),
        title=servable.title,
        version=servable.version,
    )
    routes = servable.collect_routes()
    if not routes:
        # As errors of declarations do, it names files of the working directory shortly.
        place = servable.place.removeprefix(os.getcwd() + os.sep)
        raise NothingToServe(
            f"{place}{place and ': '}Class {type(servable).__name__!r} has no endpoint, so "
            "there is nothing to serve. Mark a method with @endpoint('/')."
        )
    for signature, handler in routes.items():
        if signature.is_websocket:
            application.add_websocket_route_with_metadata(signature, handler)
        else:
            application.add_endpoint(signature, handler)
    servable.add_routes(application)
    find_fixed_paths_first(application)
    return application


def find_fixed_paths_first(application: FalFastAPI) -> None:
    """
    Have endpoints looked for before documents, which few ask for.

    What takes many paths stays behind, and all that follows it: it takes no
    document's, and endpoints keep their order, which is that of the document too.
    """
    order = application.router.routes
    endpoints = (route for route in order if isinstance(route, APIRoute))
    first = list(itertools.takewhile(lambda route: "{" not in route.path, endpoints))
    order[:] = first + [route for route in order if route not in first]
