"""
Applications: classes whose methods answer requests.
"""

from __future__ import annotations

import inspect
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from fal_core_worker import current
from fal_core_worker.serving.routes import RouteSignature
from fal_serve.declarations import Declared, make_name, merge, read_class
from fal_serve.endpoints import check_routes, declaration_error, routes_of
from fal_serve.health import find_config
from fal_serve.servables import BaseServable
from fal_serve.signatures import parameters_of
from fal_serve.stacks import place_of_class

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fal_core import Host, ServedIsolatedFunction
    from fal_serve.applications import FalFastAPI
    from fal_serve.requests import RequestContext
    from fal_serve.spawns import AppSpawnInfo

__all__ = ["App"]


class App(BaseServable):
    """
    A service: subclass it, load what it needs in ``setup``, and write endpoints.

    Options are keywords of the class or its attributes, and bases hand theirs on:
    ``class Search(App, kind="virtualenv", requirements=["numpy"])``. Any option of
    ``fal_core.function`` is a keyword; the usual ones are attributes too, named
    as there and None where the host decides.

    Attributes:
        app_name: What a host calls the application. It is made of the name of the
            class, and is never a base's.

        app_auth: Who may reach the application.

        local_python_modules: Modules to take along as source, beside those found.

        app_files_ignore: Patterns of files that stay. Repositories stay unless others
            are written: the addresses they know may have passwords in them.

        host_kwargs: All options as they were merged; written in a class, options
            that are no attributes.
    """

    requirements: ClassVar[list[str] | list[list[str]] | None] = None
    requirements_context_dir: ClassVar[str | None] = None
    python_version: ClassVar[str | None] = None
    resolver: ClassVar[str | None] = None
    local_python_modules: ClassVar[list[str]] = []
    kind: ClassVar[str | None] = None
    image: ClassVar[Any] = None
    machine_type: ClassVar[str | list[str] | None] = None
    num_gpus: ClassVar[int | None] = None
    regions: ClassVar[list[str] | None] = None
    host_kwargs: ClassVar[dict[str, Any]] = Declared()
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

    _written: ClassVar[Declared] = Declared()
    _place: ClassVar[str] = ""

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__()
        _check_names(cls)
        written = read_class(cls, keywords)
        cls._written = written.attributes
        cls._place = place_of_class()
        cls.app_name = written.name if written.name is not None else make_name(cls.__name__)
        cls.host_kwargs = merge(cls)
        if cls.__init__ is not App.__init__:
            raise declaration_error(
                f"Class {cls.__name__!r} has an __init__ of its own, which nobody would "
                "call with arguments. Write 'def setup(self)', which is called once, where "
                "the application is served."
            )
        _check_hooks(cls)
        check_routes(cls)
        config = find_config(route.signature for route in routes_of(cls))
        if config is not None:
            cls.host_kwargs["health_check_config"] = config
        if current.runtime is None:
            _check_options(cls)

    # -- what subclasses write ---------------------------------------------------

    def setup(self) -> Any:
        """
        Prepare what endpoints need; it ends before the first request is taken.

        A plain method runs on the main thread; ``async def`` in the loop of the
        service. So do ``teardown`` and ``handle_exit``.
        """

    def teardown(self) -> Any:
        """
        Clean up, once the last request has been answered.
        """

    def provide_hints(self) -> list[str] | None:
        """
        Return texts by which a host may prefer this runner, such as loaded models.

        They go with each answer, so that it is not ``async def`` and takes no time.
        None says that the application gives no hints at all.
        """
        return None

    def health(self) -> Any:
        """
        Return what ``GET /health`` answers.
        """
        return {"version": self.version}

    @property
    def current_request(self) -> RequestContext | None:
        """
        The request that this code works for; None where it works for none.
        """
        from fal_serve.requests import current

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

        application.add_api_route("/health", health, methods=["GET"], response_model=None)

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__.copy()

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)

    # -- where it is launched ----------------------------------------------------

    @classmethod
    def get_endpoints(cls) -> list[str]:
        """
        Return the paths of the endpoints.
        """
        return [route.signature.path for route in routes_of(cls)]

    @classmethod
    def build_metadata(cls) -> dict[str, Any]:
        """
        Return what a deployment carries beside the application.
        """
        return {"openapi": cls().openapi()}

    @classmethod
    def to_function(
        cls, host: Host[Any, Any] | str | None = None, **config: Any
    ) -> ServedIsolatedFunction[[], None]:
        """
        Return the application as an isolated function, which serves once it runs.

        Arguments:
            config: Options in place of those of the class.
        """
        from fal_serve.launching import to_function

        return to_function(cls, host, config)

    @classmethod
    def spawn(cls, host: Host[Any, Any] | str | None = None, **config: Any) -> AppSpawnInfo:
        """
        Start the application and return at once.
        """
        info = cls.to_function(host, **config).spawn()
        # Imported while the worker starts.
        from fal_serve.spawns import AppSpawnInfo

        return AppSpawnInfo(info)

    @classmethod
    def run_local(
        cls, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        """
        Serve in this process, without an environment, until it is interrupted.

        Arguments:
            exposed_port: 0 takes a free one.
        """
        function: Any = cls.to_function()
        function.run_local(exposed_port=exposed_port, exposed_metrics_port=exposed_metrics_port)


async def call(method: Callable[[], Any]) -> Any:
    """
    Call *method* in the loop, and await what it returns where that can be awaited.
    """
    result = method()
    return await result if inspect.isawaitable(result) else result


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


def _check_hooks(cls: type[App]) -> None:
    for hook in ("setup", "teardown", "handle_exit", "provide_hints", "health"):
        if not callable(getattr(cls, hook)):
            raise declaration_error(
                f"Class {cls.__name__!r}: {hook!r} is a method that is called, and cannot "
                f"be {getattr(cls, hook)!r}. Write 'def {hook}(self)', or give the "
                "attribute another name."
            )
    if inspect.iscoroutinefunction(cls.provide_hints):
        raise declaration_error(
            f"Class {cls.__name__!r}: provide_hints cannot be 'async def', since its "
            "hints go with each answer. Keep them in an attribute, and return that."
        )


def _check_options(cls: type[App]) -> None:
    try:
        from fal_serve.launching import check_application
    except ImportError:
        return
    check_application(cls)
