"""The picklable callable that a host runs to serve a function or a class."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from fal_core_worker.serving import services
from fal_serve.answering.stacks import skip_to_user_frame
from fal_serve.declaring.annotations import restore, textual_annotations
from fal_serve.declaring.settings import ServiceSettings

if TYPE_CHECKING:
    from fal_serve.serving.services import Servable

#: The requirements of serving, for the environment of a service.
REQUIREMENTS = (
    "fastapi>=0.130",
    "httptools>=0.6.3",
    # For clients of other applications.
    "httpx>=0.27",
    "msgpack>=1.1",
    "prometheus-client>=0.21",
    "pydantic>=2.12",
    "python-multipart>=0.0.18",
    "uvicorn>=0.54",
    "uvloop>=0.21; sys_platform != 'win32'",
    "websockets>=16",
)


def pin_own_pydantic(requirements: Sequence[str]) -> tuple[str, ...]:
    """
    Return *requirements* with the version of pydantic in this process.

    Models that are pickled by value cannot be read by another release of pydantic.
    """
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = f"pydantic=={version('pydantic')}"
    except PackageNotFoundError:
        return tuple(requirements)
    return tuple(own if each.startswith("pydantic>") else each for each in requirements)


class ServableServer(services.Server):
    """
    Serves the servable that *make* returns for a function or a class.

    Arguments:
        func: The function or class that the user wrote.

        make: Called where the service runs.
    """

    requirements: Sequence[str] = REQUIREMENTS
    packages: Sequence[str] = ("fal_serve",)
    takes_socket = True

    def __init__(
        self, func: Any, make: Callable[[Any], Servable], settings: ServiceSettings
    ) -> None:
        # The server stands in for the function: its module, name and imports count.
        functools.update_wrapper(self, func, updated=())
        self.func = func
        self.requirements = pin_own_pydantic(REQUIREMENTS)
        self._make = make
        self._annotations = textual_annotations(func)
        self._settings = settings

    def build_metadata(self) -> dict[str, Any]:
        """Return what a deployment ships beside the service, such as its OpenAPI document."""
        build = getattr(self.func, "build_metadata", None)
        if callable(build):
            return dict(build())
        return {"openapi": self._make(self.func).build_application().openapi()}

    def __call__(
        self, *, exposed_port: int | None = None, exposed_metrics_port: int | None = None
    ) -> None:
        # Imported here, as the process that launches a service needs none of them.
        from fal_serve.serving.loops import new_loop
        from fal_serve.serving.services import RunningService

        restore(self._annotations)
        service = RunningService(
            self._make(self.func),
            self._settings,
            port=exposed_port,
            metrics_port=exposed_metrics_port,
        )
        try:
            services.run(service.run(), new_loop(), service.drain)
        except Exception as error:
            # Our own frames do not help to find the error of a setup. It is the same
            # error, raised again.
            raise error.with_traceback(skip_to_user_frame(error.__traceback__))  # noqa: B904
