"""Applications: classes whose methods answer requests."""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fal_core_worker import current
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.answering.stacks import find_class_location
from fal_serve.declaring.endpoints import check_routes, routes_of
from fal_serve.declaring.errors import declaration_error
from fal_serve.declaring.options import (
    ApplicationDeclaration,
    DeclaredOptions,
    make_name,
    merge,
    read_class,
)
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.declaring.signatures import parameters_of
from fal_serve.health import find_config
from fal_serve.servables import BaseServable, check_hooks, declared_paths, own_pages

if TYPE_CHECKING:
    from fastapi import FastAPI
    from typing_extensions import Unpack

    from fal_core import Environment, Host, ServedIsolatedFunction
    from fal_core.keywords import AnyKeywords
    from fal_serve.answering.requests import RequestContext
    from fal_serve.declaring.keywords import AppKeywords
    from fal_serve.launching.spawns import AppSpawnInfo
    from fal_serve.serving.applications import FalFastAPI

__all__ = ["App"]


class App(BaseServable):
    """
    A service: subclass it, load what it needs in ``setup``, and write endpoints.

    Options are keywords of the class or its attributes, and are inherited:
    ``class Search(App, kind="virtualenv", requirements=["numpy"])``. Any option of
    ``fal_core.function`` can be a keyword. The common ones are attributes too, with the
    same names; None leaves them to the host.

    Attributes:
        app_name: The name of the application on a host. It defaults to a name made from
            that of the class, and is never inherited.

        app_auth: Who may call the application.

        local_python_modules: Modules to ship as source, beside those that are found.

        app_files_ignore: Patterns of files that are not uploaded. Repositories are left out
            by default, as the addresses in them may contain passwords.

        host_kwargs: All options after merging. Written in a class: options that are no
            attributes.
    """

    requirements: ClassVar[list[str] | list[list[str]] | None] = None
    requirements_context_dir: ClassVar[str | None] = None
    python_version: ClassVar[str | None] = None
    resolver: ClassVar[Literal["uv", "pip"] | None] = None
    local_python_modules: ClassVar[list[str]] = []
    kind: ClassVar[str | Environment | None] = None
    image: ClassVar[Any] = None
    machine_type: ClassVar[str | list[str] | None] = None
    num_gpus: ClassVar[int | None] = None
    regions: ClassVar[list[str] | None] = None
    host_kwargs: ClassVar[dict[str, Any]] = DeclaredOptions()
    app_name: ClassVar[str | None] = None
    app_auth: ClassVar[Literal["public", "private", "shared"] | None] = None
    app_files: ClassVar[list[str] | None] = None
    app_files_ignore: ClassVar[list[str] | None] = [
        *(r"\.pyc$", "__pycache__/", r"\.git/", r"\.DS_Store$"),
    ]
    app_files_context_dir: ClassVar[str | None] = None
    keep_alive: ClassVar[float | None] = None
    request_timeout: ClassVar[float | None] = None
    request_start_timeout: ClassVar[float | None] = None
    startup_timeout: ClassVar[float | None] = None
    metrics_port: ClassVar[int | None] = None
    min_concurrency: ClassVar[int | None] = None
    max_concurrency: ClassVar[int | None] = None
    concurrency_buffer: ClassVar[int | None] = None
    concurrency_buffer_perc: ClassVar[int | None] = None
    scaling_delay: ClassVar[float | None] = None
    max_multiplexing: ClassVar[int | None] = None
    skip_retry_conditions: ClassVar[list[str] | None] = None
    retry_config: ClassVar[dict[str, Any] | None] = None
    termination_grace_period_seconds: ClassVar[float | None] = None
    secrets: ClassVar[list[str] | None] = None
    data_mounts: ClassVar[list[str] | None] = None

    _written: ClassVar[DeclaredOptions] = DeclaredOptions()
    _place: ClassVar[str] = ""

    def __init_subclass__(cls, **keywords: Unpack[AppKeywords]) -> None:
        super().__init_subclass__()
        _check_names(cls)
        written = read_class(cls, dict(keywords))
        cls._written = written.attributes
        cls._place = find_class_location()
        cls.app_name = written.name if written.name is not None else make_name(cls.__name__)
        cls.host_kwargs = merge(cls)
        if cls.__init__ is not App.__init__:
            raise declaration_error(
                f"Class {cls.__name__!r} has an __init__ of its own, which nobody would "
                "call with arguments. Write 'def setup(self)', which is called once, where "
                "the application is served."
            )
        check_hooks(cls, ("setup", "teardown", "provide_hints", "health"))
        check_routes(cls)
        config = find_config(route.signature for route in routes_of(cls))
        if config is not None:
            cls.host_kwargs["health_check_config"] = config
        if current.runtime is None:
            _check_options(cls)

    # -- for subclasses to define -------------------------------------------------

    def setup(self) -> Any:
        """
        Prepare what endpoints need; it ends before the first request is taken.

        A plain method runs on the main thread, an ``async def`` one in the event loop of the
        service. The same is true of ``teardown`` and ``handle_exit``.
        """

    def teardown(self) -> Any:
        """Clean up, once the last request has been answered."""

    def provide_hints(self) -> list[str] | None:
        """
        Return texts by which a host may prefer this runner, such as the models it has loaded.

        They are sent with each response, so that this must be fast and cannot be ``async def``.
        None means that the application gives no hints.
        """
        return None

    def health(self) -> Any:
        """Return the body of ``GET /health``."""
        return {"version": self.version}

    @property
    def current_request(self) -> RequestContext | None:
        """The request that the current code works for, or None outside a request."""
        from fal_serve.answering.requests import current

        return current.get()

    # -- how it is served --------------------------------------------------------

    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        return {route.signature: getattr(self, route.name) for route in routes_of(type(self))}

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        os.environ["FAL_RUNNER_STATE"] = "SETUP"
        await call(self.setup)
        os.environ["FAL_RUNNER_STATE"] = "RUNNING"
        try:
            yield
        finally:
            os.environ["FAL_RUNNER_STATE"] = "TERMINATING"
            await call(self.teardown)

    @property
    def title(self) -> str:
        return self.app_name or type(self).__name__

    @property
    def place(self) -> str:
        return self._place

    def hints(self) -> list[str] | None:
        return self.provide_hints()

    def add_routes(self, application: FalFastAPI) -> None:
        async def health() -> Any:
            return await call(self.health)

        application.add_lenient_route("/health", health, methods=["GET"], response_model=None)

    def _service_settings(self) -> ServiceSettings:
        declared = self.host_kwargs
        return ServiceSettings(
            request_timeout=declared.get("request_timeout"),
            startup_timeout=declared.get("startup_timeout"),
            termination_grace=declared.get("termination_grace_period_seconds"),
            max_multiplexing=declared.get("max_multiplexing"),
            metrics_port=declared.get("metrics_port"),
        )

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # -- where it is launched ----------------------------------------------------

    @classmethod
    def get_endpoints(cls) -> list[str]:
        """Return the paths of the endpoints."""
        return [route.signature.path for route in routes_of(cls)]

    @classmethod
    def build_metadata(cls) -> dict[str, Any]:
        """Return what a deployment ships beside the application."""
        application = cls().build_application()
        # The paths of the document are in the order of the SDK's.
        return {
            "openapi": application.openapi(),
            "declared_paths": declared_paths(cls),
            "own_pages": own_pages(application),
        }

    @classmethod
    def to_function(
        cls, host: Host[Any, Any] | str | None = None, **config: Unpack[AnyKeywords]
    ) -> ServedIsolatedFunction[[], None]:
        """
        Return the application as an isolated function, which serves when it is called.

        Arguments:
            config: Options that replace those of the class.
        """
        from fal_serve.launching.functions import to_function

        return to_function(_declaration_of(cls), host, dict(config))

    @classmethod
    def spawn(
        cls, host: Host[Any, Any] | str | None = None, **config: Unpack[AnyKeywords]
    ) -> AppSpawnInfo:
        """Start the application and return at once."""
        info = cls.to_function(host, **config).spawn()
        # Imported while the worker is starting.
        from fal_serve.launching.spawns import AppSpawnInfo

        return AppSpawnInfo(info)

    @classmethod
    def run_local(
        cls, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        """
        Serve in this process, without an environment, until it is interrupted.

        Arguments:
            exposed_port: The port of the service; 0 takes a free one.
        """
        function: Any = cls.to_function()
        function.run_local(exposed_port=exposed_port, exposed_metrics_port=exposed_metrics_port)


async def call(method: Callable[[], Any]) -> Any:
    """Call *method* in the event loop, and await its result if that is awaitable."""
    result = method()
    return await result if inspect.isawaitable(result) else result


def _declaration_of(cls: type[App]) -> ApplicationDeclaration:
    return ApplicationDeclaration(
        served=cls,
        options=cls.host_kwargs,
        app_name=cls.app_name,
        app_auth=cls.app_auth,
        local_python_modules=cls.local_python_modules,
    )


def _check_names(cls: type[App]) -> None:
    for _, name, function in routes_of(cls):
        if not hasattr(App, name):
            continue
        needed = [each for each in parameters_of(function)[1:] if each.default is each.empty]
        if name != "health":
            raise declaration_error(
                f"Class {cls.__name__!r}: {name!r} is an attribute of every application, and "
                "cannot be an endpoint. Call the method something else; its path may stay."
            )
        if needed:
            raise declaration_error(
                f"Class {cls.__name__!r}: 'health' answers 'GET /health' as well, and takes "
                f"nothing. Leave out {needed[0].name!r}, or call the method something else."
            )


def _check_options(cls: type[App]) -> None:
    try:
        from fal_serve.launching.functions import check_application
    except ImportError:
        return
    check_application(_declaration_of(cls))
