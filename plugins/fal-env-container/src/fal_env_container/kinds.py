"""
The kind ``container``: its options, and how its image is found or built.
"""

from __future__ import annotations

from collections.abc import Iterable
from threading import Event
from typing import TYPE_CHECKING, ClassVar

import attrs

from fal_core.digests import digest
from fal_core.environments import Environment, Interpreter
from fal_core.errors import OptionError
from fal_core.reprs import show_fields

if TYPE_CHECKING:
    from fal_core.events import LogSink

# Imports inside functions: every program that declares a function of whatever kind imports
# this module.


@attrs.frozen(kw_only=True)
class Container(Environment):
    """
    A container of *image* for each worker.

    Attributes:
        image: The name of an image.

        platform: Of the image, as in ``linux/arm64``. None for that of the engine.
    """

    __repr__ = show_fields

    kind: ClassVar[str] = "container"

    image: str
    platform: str | None = None

    @property
    def key(self) -> str:
        return digest(repr((self.kind, self.image, self.platform)).encode())

    def is_built(self) -> bool:
        from fal_env_container.building.names import find_image
        from fal_env_container.finding import find_engine

        return find_image(find_engine(), self.image) is not None

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        from fal_env_container.building.names import find_image, pull
        from fal_env_container.finding import find_engine
        from fal_env_container.running.interpreters import ContainerInterpreter

        engine = find_engine()
        image = find_image(engine, self.image) or pull(engine, self.image)
        return ContainerInterpreter(engine=engine, image=image)

    def extend(self, requirements: Iterable[str]) -> Container:
        raise OptionError(
            f"Image {self.image!r} takes no requirements: {', '.join(requirements)}."
        )
