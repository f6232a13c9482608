"""
Serving: the picklable callable that a host runs, and its life.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fal_core_worker import current
from fal_core_worker.serving import services
from fal_serve import deferrals
from fal_serve.annotations import restore, textual_annotations
from fal_serve.settings import METRICS_PORT, PORT, Settings
from fal_serve.stacks import of_user

if TYPE_CHECKING:
    from fal_serve.servables import BaseServable

if current.runtime is not None:
    # A server is being opened here, and the module of its function follows.
    deferrals.install()

#: What serving needs of an environment.
REQUIREMENTS = (
    "fastapi>=0.130",
    "httptools>=0.6.3",
    "msgpack>=1.1",
    "prometheus-client>=0.21",
    "pydantic>=2.12",
    "python-multipart>=0.0.18",
    "uvicorn>=0.54",
    "uvloop>=0.21; sys_platform != 'win32'",
    "websockets>=16",
)


def with_own_pydantic(requirements: Sequence[str]) -> tuple[str, ...]:
    """
    Return *requirements* with the pydantic of this process.

    Models that travel by value hold what no other release of pydantic reads.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = f"pydantic=={version('pydantic')}"
    except PackageNotFoundError:
        return tuple(requirements)
    return tuple(own if each.startswith("pydantic>") else each for each in requirements)


class ServableServer(services.Server):
    """
    Serves what *make* makes of a function or a class.

    Arguments:
        func: The function or class that the user wrote.

        make: Makes the servable, where it is served.
    """

    requirements: Sequence[str] = REQUIREMENTS
    packages = ("fal_serve",)

    def __init__(
        self, func: Any, make: Callable[[Any], BaseServable], settings: Settings
    ) -> None:
        # It is taken for the user's function: by its module, its name and its imports.
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.requirements = with_own_pydantic(REQUIREMENTS)
        self._make = make
        self._annotations = textual_annotations(func)
        self._settings = settings

    def build_metadata(self) -> dict[str, Any]:
        """
        Return what a deployed revision carries beside its code.
        """
        own = getattr(self.func, "build_metadata", None)
        return own() if callable(own) else {"openapi": self._make(self.func).openapi()}

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        deferrals.install()
        with deferrals.uncollected():
            from fal_serve.loops import new_loop
            from fal_serve.servers import Service

        restore(self._annotations)
        declared = self._settings.metrics_port
        service = Service(
            self._make(self.func),
            self._settings,
            port=PORT if exposed_port is None else exposed_port,
            metrics_port=(METRICS_PORT if declared is None else declared)
            if exposed_metrics_port is None
            else exposed_metrics_port,
        )
        try:
            services.run(service.run(), new_loop(), service.drain)
        except Exception as error:
            # How a service is run tells nobody what is wrong with its setup. It is the
            # same error, raised again.
            raise error.with_traceback(of_user(error.__traceback__))  # noqa: B904
