"""
Containers: environments that the service makes of an image.

A project declares them. They are not built on this machine, so that they are no plugin's.
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
class Container(Environment):
    """
    A container of *image*, with *requirements* installed where there are some.

    Attributes:
        image: As the service takes it: the ``image`` that it pulls, and what goes with it.
    """

    kind: ClassVar[str] = "container"

    image: Mapping[str, Any]
    requirements: Sequence[Any] | None = None
    python_version: str | None = None
    resolver: str | None = None
    force: bool = False

    @property
    def runs_itself(self) -> bool:
        """
        Whether the image's own command serves, with nothing of Python sent to it.
        """
        return self.image.get("use_isolate") is False

    @property
    def key(self) -> str:
        return digest(repr(attrs.astuple(self)).encode(), 32)

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        raise EnvironmentBuildError(self.kind, "only the service builds it, from its image.")

    def extend(self, requirements: Iterable[str]) -> Container:
        return attrs.evolve(self, requirements=[*(self.requirements or ()), *requirements])
