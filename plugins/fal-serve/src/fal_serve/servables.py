"""Servables: objects with routes that can be served."""

from __future__ import annotations

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from fal_core_worker import current
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.declaring.endpoints import check_collected, check_function
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.realtime_endpoints import RealtimeEndpoint, check_written
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.declaring.signatures import parameters_of

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fal_serve.serving.applications import FalFastAPI


#: The methods of every servable that a service calls.
_HOOKS = (
    "add_routes",
    "build_application",
    "collect_routes",
    "handle_exit",
    "hints",
    "lifespan",
    "openapi",
)

#: Methods that cannot be ``async def``, with the reasons.
_AT_ONCE = {
    "add_routes": "routes are added before the event loop runs anything",
    "build_application": "it returns the application itself",
    "collect_routes": "it returns the handlers themselves",
    "hints": "its hints go with each answer. Keep them in an attribute, and return that",
    "openapi": "it returns the document itself",
    "provide_hints": "its hints go with each answer. Keep them in an attribute, and "
    "return that",
}


if TYPE_CHECKING:
    # mypy checks the keywords of no class with a metaclass of its own.
    ServableMeta = ABCMeta
else:

    class ServableMeta(ABCMeta):
        """
        The metaclass of servables, which takes the keyword ``name`` as ``app_name``.

        In Python 3.10, ABCMeta itself takes no keyword of that name.
        """

        def __new__(meta, name, bases, space, /, **keywords):
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

    def __init_subclass__(cls) -> None:
        super().__init_subclass__()
        check_hooks(cls, _HOOKS)
        if not isinstance(vars(cls).get("cors", True), bool | property):
            raise declaration_error(
                f"Class {cls.__name__!r}: cors must be True or False, not {cls.cors!r}."
            )

    @property
    def title(self) -> str:
        """The name of what is served."""
        return type(self).__name__

    @property
    def place(self) -> str:
        """The file and line of its definition; empty if unknown."""
        return ""

    @abstractmethod
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        """Return the handlers by their routes."""

    def openapi(self) -> dict[str, Any]:
        """Return the OpenAPI document, with fal's extensions."""
        return self.build_application().openapi()

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Wrap the time in which requests are served."""
        yield

    def handle_exit(self) -> Any:
        """React to the request to shut down; running requests still finish."""

    def hints(self) -> list[str] | None:
        """Return hints about this runner for a gateway, or None."""
        return None

    @property
    def _description(self) -> str:
        """What the service does, as its OpenAPI document says it."""
        return inspect.cleandoc(type(self).__dict__.get("__doc__") or "")

    def add_routes(self, application: FalFastAPI) -> None:
        """Add routes beside the user's endpoints."""

    def build_application(self) -> FalFastAPI:
        """Return the ASGI application of the routes."""
        from fal_serve.serving.applications import NothingToServe, build_application

        routes = self.collect_routes()
        if not routes:
            raise NothingToServe(type(self).__name__, self.place)
        check_collected(self.title, routes)
        for signature, handler in routes.items():
            if signature.realtime_mode is not None and not isinstance(
                handler, RealtimeEndpoint
            ):
                check_written(handler, signature)
        application = build_application(
            routes,
            title=self.title,
            version=self.version,
            lifespan=self.lifespan,
            add_routes=self.add_routes,
        )
        application.description = self._description
        application.state.fal_declared_paths = declared_paths(type(self))
        return application

    async def serve(
        self,
        *,
        limit_max_requests: int | None = None,
        host: str | None = None,
        port: int | None = None,
        metrics_port: int | None = None,
    ) -> None:
        """
        Serve in the running event loop until this process is asked to end.

        Arguments:
            limit_max_requests: Shut down after so many requests.

            host: The address to listen on. By default it is 127.0.0.1, and 0.0.0.0 in a
                container or in a network namespace of its own.

            port: The port for requests, 8080 by default. 0 takes a free one.

            metrics_port: The port of metrics and probes: by default the declared one, or
                9090.
        """
        from fal_serve.serving.addresses import default_address
        from fal_serve.serving.services import RunningService

        settings = self._service_settings()
        if host is None and (current.runtime is None or current.runtime.address is None):
            host = default_address()
        service = RunningService(
            self, replace(settings, host=host), port=port, metrics_port=metrics_port
        )
        await service.run(limit_max_requests=limit_max_requests, signals=True)

    def _service_settings(self) -> ServiceSettings:
        """Return the settings with which ``serve`` serves."""
        return ServiceSettings()


def declared_paths(cls: type) -> list[str]:
    """
    Return the paths of the endpoints of *cls* and its bases, in the order in which they are
    written.
    """
    names = dict.fromkeys(name for base in reversed(cls.__mro__) for name in vars(base))
    signatures = (
        getattr(inspect.getattr_static(cls, name, None), "route_signature", None)
        for name in names
    )
    return list(dict.fromkeys(each.path for each in signatures if each is not None))


def own_pages(application: FalFastAPI) -> list[str]:
    """
    Return the paths of all that *application* has to read, whether or not its document has
    it: of routes, as these are written, and of what is mounted.
    """
    from starlette.routing import Mount, Route

    found = []
    for route in application.routes:
        if isinstance(route, Mount):
            found.append(f"{route.path}/{{path:path}}")
        elif isinstance(route, Route) and (route.methods is None or "GET" in route.methods):
            found.append(route.path)
    made = (
        application.openapi_url,
        application.docs_url,
        application.redoc_url,
        application.swagger_ui_oauth2_redirect_url,
    )
    for path in made:
        if path in found:
            # That which FastAPI adds comes first.
            found.remove(path)
    return found


def check_hooks(cls: type, names: Iterable[str]) -> None:
    """
    Check the methods of *cls* that a service calls.

    Raises:
        ValueError: One is no method, or is ``async def`` and its result is used at once.
    """
    for name in names:
        hook = getattr(cls, name)
        if not callable(hook):
            raise declaration_error(
                f"Class {cls.__name__!r}: {name!r} is a method that is called, and cannot "
                f"be {hook!r}. Write 'def {name}(self)', or give the attribute another name."
            )
        if name in _AT_ONCE and inspect.iscoroutinefunction(hook):
            raise declaration_error(
                f"Class {cls.__name__!r}: {name} cannot be 'async def', since {_AT_ONCE[name]}."
            )


def check_servable(served: Any) -> None:
    """
    Check what is to be served, a function or a class of servables, before it is launched.

    Raises:
        ValueError: It cannot be served.
    """
    if not (isinstance(served, type) and issubclass(served, BaseServable)):
        check_function(served)
        return
    name = served.__name__
    if inspect.isabstract(served):
        missing = ", ".join(sorted(served.__abstractmethods__))
        raise declaration_error(
            f"Class {name!r} does not define {missing}, and cannot be served."
        )
    needed = [each.name for each in parameters_of(served) if _is_needed(each)]
    if needed:
        raise declaration_error(
            f"Class {name!r} has an __init__ that takes {needed[0]!r}, which nobody would "
            "pass. Load what it needs in 'lifespan', or give the parameter a default."
        )


def _is_needed(parameter: inspect.Parameter) -> bool:
    variable = (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD)
    return parameter.default is parameter.empty and parameter.kind not in variable


def make_servable(served: Any) -> BaseServable:
    """Return the servable of *served*: a function, or a class of servables."""
    if isinstance(served, type) and issubclass(served, BaseServable):
        return served()
    return ServeWrapper(served)


class ServeWrapper(BaseServable):
    """Serves one function: at ``/``, or at the path of the decorator above it."""

    def __init__(self, func: Callable[..., Any]) -> None:
        self._func = func

    @property
    def title(self) -> str:
        return getattr(self._func, "__name__", "function")

    @property
    def _description(self) -> str:
        return ""

    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        written = getattr(self._func, "route_signature", None)
        route = written if isinstance(written, RouteSignature) else RouteSignature("/")
        return {route: self._func}
