"""
Environments that the service makes of an image.

Only projects declare them, and nothing on this machine builds them, so no plugin
registers them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from threading import Event
from typing import Any, ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import Environment, Interpreter
from fal_core.errors import EnvironmentBuildError
from fal_core.events import LogSink


@attrs.frozen(kw_only=True)
class ServiceContainer(Environment):
    """
    A container of *image*, with *requirements* installed if there are any.

    Attributes:
        image: The image as the service takes it: its name, and the settings beside it.
    """

    kind: ClassVar[str] = "container"

    image: Mapping[str, Any]
    requirements: Sequence[Any] | None = None
    python_version: str | None = None
    resolver: str | None = None
    force: bool = False

    @property
    def runs_itself(self) -> bool:
        """Whether the image's own command serves, and no Python code is sent to it."""
        return self.image.get("use_isolate") is False

    @property
    def key(self) -> str:
        return digest(repr(attrs.astuple(self)).encode(), 32)

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        raise EnvironmentBuildError(self.kind, "only the service builds it, from its image.")

    def extend(self, requirements: Iterable[str]) -> ServiceContainer:
        return attrs.evolve(self, requirements=[*(self.requirements or ()), *requirements])
