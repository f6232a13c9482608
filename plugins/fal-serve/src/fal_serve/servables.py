"""
Servables: what can be served, by its routes.
"""

from __future__ import annotations

from abc import ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar

from fal_core_worker.serving.routes import RouteSignature

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fal_serve.applications import FalFastAPI


class ServableMeta(ABCMeta):
    """
    The class of servables: a keyword ``name`` says what one is called.

    The one of abstract classes takes no such keyword in Python 3.10.
    """

    def __new__(
        meta, name: str, bases: tuple[type, ...], space: dict[str, Any], /, **keywords: Any
    ) -> ServableMeta:
        if "name" in keywords:
            keywords["app_name"] = keywords.pop("name")
        return super().__new__(meta, name, bases, space, **keywords)


class BaseServable(metaclass=ServableMeta):
    """
    Something with routes that can be served over HTTP.

    Attributes:
        version: What ``/health`` and the metrics tell.
    """

    version: ClassVar[str] = "unknown"

    @property
    def title(self) -> str:
        """
        What is served, by its name.
        """
        return type(self).__name__

    @property
    def place(self) -> str:
        """
        The file and the line where it is written; empty where that is not known.
        """
        return ""

    @abstractmethod
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        """
        Return the handlers by their routes.
        """

    def openapi(self) -> dict[str, Any]:
        """
        Return the OpenAPI document, with what fal adds to it.
        """
        return self.build_application().openapi()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """
        Surround the time in which requests are served.
        """
        yield

    def handle_exit(self) -> Any:
        """
        Learn that the service was asked to end; running requests still finish.
        """

    def hints(self) -> list[str] | None:
        """
        Return what a gateway should know of this runner; None tells it nothing.
        """
        return None

    def add_routes(self, application: FalFastAPI) -> None:
        """
        Add routes that are no endpoints of the user's.
        """

    def build_application(self) -> FalFastAPI:
        """
        Return the ASGI application of the routes.
        """
        from fal_serve.applications import build_application

        return build_application(self)

    async def serve(self, *, limit_max_requests: int | None = None) -> None:
        """
        Serve in the running loop until this process is asked to end.

        Arguments:
            limit_max_requests: End after so many requests.
        """
        from fal_serve.servers import Service
        from fal_serve.settings import METRICS_PORT, PORT, Settings

        service = Service(self, Settings(), port=PORT, metrics_port=METRICS_PORT)
        await service.run(limit_max_requests=limit_max_requests, signals=True)


def make_servable(served: Any) -> BaseServable:
    """
    Return the servable of *served*: a function, or the class of a servable.
    """
    if isinstance(served, type) and issubclass(served, BaseServable):
        return served()
    from fal_serve.wrappers import ServeWrapper

    return ServeWrapper(served)
