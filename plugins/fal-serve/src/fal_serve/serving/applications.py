"""The ASGI application of a service."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI
from fastapi.datastructures import Default
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.responses import Response

from fal_core_worker.serving import services
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.adapters import adapt, has_own_content_type, is_generator
from fal_serve.answering.cancellation import note_connection
from fal_serve.answering.event_streams import EventStream
from fal_serve.answering.failures import (
    EXCEPTION_HANDLERS,
    ExitGuard,
    answer_unexpected,
    install_handlers,
)
from fal_serve.answering.json_responses import LenientJSONResponse, encode_leniently
from fal_serve.declaring.endpoints import check_not_realtime
from fal_serve.realtime_sessions.applications import realtime_application

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Lifespan, Receive, Scope, Send


class NothingToServe(services.StartupError, ValueError):
    """The class *name*, defined at *place*, has no endpoint."""

    def __init__(self, name: str, place: str) -> None:
        super().__init__(name, place)
        self.name = name
        self.place = place

    def __str__(self) -> str:
        # As in errors of declarations, paths in the working directory are relative.
        place = self.place.removeprefix(os.getcwd() + os.sep)
        return (
            f"{place}{place and ': '}Class {self.name!r} has no endpoint, so there is "
            "nothing to serve. Mark a method with @endpoint('/')."
        )


class FalFastAPI(FastAPI):
    """
    A FastAPI application that knows fal's exceptions, and describes its websocket routes.

    Its OpenAPI document has fal's extensions. All else is as in FastAPI; what a service
    answers of its own is added by ``build_application``.

    Attributes:
        unexpected: Answers exceptions for which the application has no handler. None
            leaves them to Starlette.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.websocket_routes: list[tuple[RouteSignature, Callable[..., Any]]] = []
        self.streams: dict[str, Callable[..., Any]] = {}
        self.unexpected: Any = None
        self._completed: dict[str, Any] | None = None
        for kind, handler in EXCEPTION_HANDLERS.items():
            self.exception_handlers.setdefault(kind, handler)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            note_connection(receive)
        await super().__call__(scope, receive, send)

    def build_middleware_stack(self) -> ASGIApp:
        # Only now, as a user may have registered a handler for either.
        if self.unexpected is not None and not self.exception_handlers.keys() & {
            500,
            Exception,
        }:
            self.exception_handlers[Exception] = self.unexpected
        if self.unexpected is not None and self.user_middleware:
            self.user_middleware.append(Middleware(ExitGuard))
        return super().build_middleware_stack()

    def add_websocket_route_with_metadata(
        self, signature: RouteSignature, endpoint: Callable[..., Any]
    ) -> None:
        """Add a websocket route that is described in the OpenAPI document."""
        served: Any = realtime_application(signature, endpoint)
        if served is None:
            check_not_realtime(signature)
            self.add_api_websocket_route(signature.path, endpoint, name=endpoint.__name__)
        else:
            # A realtime endpoint is an ASGI application, without FastAPI's dependencies.
            self.router.add_websocket_route(signature.path, served, name=endpoint.__name__)
        self.websocket_routes.append((signature, endpoint))

    def add_lenient_route(
        self, path: str, endpoint: Callable[..., Any], **options: Any
    ) -> None:
        """Add a route whose JSON responses can hold any text and any number."""
        # As a default, it leaves typed outputs to pydantic's encoder.
        options.setdefault("response_class", Default(LenientJSONResponse))
        self.add_api_route(path, endpoint, **options)
        route = self.routes[-1]
        assert isinstance(route, APIRoute)
        encode_leniently(route)

    def add_endpoint(self, signature: RouteSignature, handler: Callable[..., Any]) -> None:
        """Add a route that answers POST requests."""
        check_not_realtime(signature)
        options: dict[str, Any] = {}
        if is_generator(handler):
            options["response_class"] = EventStream
            self.streams[signature.path] = handler
        elif has_own_content_type(signature):
            # A class of its own, for the content type in the document.
            options["response_class"] = type(
                "Answer", (Response,), {"media_type": signature.content_type}
            )
        adapted = adapt(signature, handler)
        name = getattr(handler, "__name__", "endpoint")
        self.add_lenient_route(signature.path, adapted, name=name, methods=["POST"], **options)
        method = getattr(signature.health_check, "method", None)
        if method is not None and method.upper() != "POST":
            self.add_lenient_route(
                signature.path,
                adapted,
                name=name,
                methods=[method.upper()],
                include_in_schema=False,
                **options,
            )

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with fal's extensions."""
        document = super().openapi()
        if document is not self._completed:
            from fal_serve.serving.documents import complete

            complete(document, self.websocket_routes, self.streams)
            self._completed = document
        return document


def build_application(
    routes: Mapping[RouteSignature, Callable[..., Any]],
    *,
    title: str,
    version: str,
    lifespan: Lifespan[Any],
    add_routes: Callable[[FalFastAPI], None],
) -> FalFastAPI:
    """
    Return an application that answers *routes* with their handlers.

    Arguments:
        add_routes: Adds routes beside the user's endpoints.
    """
    application = FalFastAPI(lifespan=lifespan, title=title, version=version)
    # The argument of this name is deprecated, in favour of options of servers.
    application.root_path = os.environ.get("FAL_APP_ROOT_PATH", "")
    install_handlers(application)
    application.unexpected = answer_unexpected
    for signature, handler in routes.items():
        if signature.is_websocket:
            application.add_websocket_route_with_metadata(signature, handler)
        else:
            application.add_endpoint(signature, handler)
    add_routes(application)
    find_fixed_paths_first(application)
    return application


def find_fixed_paths_first(application: FalFastAPI) -> None:
    """
    Have endpoints matched before the routes of documents, which are requested rarely.

    The first route with parameters and all that follow it stay behind the documents, whose
    paths it might match. Endpoints keep their order, which is that of the document too.
    """
    order = application.router.routes
    endpoints = (route for route in order if isinstance(route, APIRoute))
    first = list(itertools.takewhile(lambda route: "{" not in route.path, endpoints))
    order[:] = first + [route for route in order if route not in first]
