"""
Servables: objects with routes that can be served.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from fal_core_worker.serving.routes import RouteSignature

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fal_serve.serving.applications import FalFastAPI


class ServableMeta(ABCMeta):
    """
    The metaclass of servables, which takes the keyword ``name`` as ``app_name``.

    In Python 3.10, ABCMeta itself takes no keyword of that name.
    """

    def __new__(
        meta, name: str, bases: tuple[type, ...], space: dict[str, Any], /, **keywords: Any
    ) -> ServableMeta:
        if "name" in keywords:
            keywords["app_name"] = keywords.pop("name")
        return super().__new__(meta, name, bases, space, **keywords)


class BaseServable(metaclass=ServableMeta):
    """
    An object with routes that can be served over HTTP.

    Attributes:
        version: Reported by ``/health`` and the metrics.

        cors: Whether pages of all origins may send requests from a browser (CORS). What the
            application says of them itself has priority.
    """

    version: ClassVar[str] = "unknown"
    cors: ClassVar[bool] = True

    @property
    def title(self) -> str:
        """
        The name of what is served.
        """
        return type(self).__name__

    @property
    def place(self) -> str:
        """
        The file and line of its definition; empty if unknown.
        """
        return ""

    @abstractmethod
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        """
        Return the handlers by their routes.
        """

    def openapi(self) -> dict[str, Any]:
        """
        Return the OpenAPI document, with fal's extensions.
        """
        return self.build_application().openapi()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """
        Wrap the time in which requests are served.
        """
        yield

    def handle_exit(self) -> Any:
        """
        React to the request to shut down; running requests still finish.
        """

    def hints(self) -> list[str] | None:
        """
        Return hints about this runner for a gateway, or None.
        """
        return None

    def add_routes(self, application: FalFastAPI) -> None:
        """
        Add routes beside the user's endpoints.
        """

    def build_application(self) -> FalFastAPI:
        """
        Return the ASGI application of the routes.
        """
        from fal_serve.serving.applications import NothingToServe, build_application

        routes = self.collect_routes()
        if not routes:
            raise NothingToServe(type(self).__name__, self.place)
        return build_application(
            routes,
            title=self.title,
            version=self.version,
            lifespan=self.lifespan,
            add_routes=self.add_routes,
        )

    async def serve(self, *, limit_max_requests: int | None = None) -> None:
        """
        Serve in the running event loop until this process is asked to end.

        Arguments:
            limit_max_requests: Shut down after so many requests.
        """
        from fal_serve.declaring.settings import METRICS_PORT, PORT, ServiceSettings
        from fal_serve.serving.services import RunningService

        service = RunningService(self, ServiceSettings(), port=PORT, metrics_port=METRICS_PORT)
        await service.run(limit_max_requests=limit_max_requests, signals=True)


def make_servable(served: Any) -> BaseServable:
    """
    Return the servable of *served*: a function, or a class of servables.
    """
    if isinstance(served, type) and issubclass(served, BaseServable):
        return served()
    return ServeWrapper(served)


class ServeWrapper(BaseServable):
    """
    Serves one function: at ``/``, or at the path of the decorator above it.
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
