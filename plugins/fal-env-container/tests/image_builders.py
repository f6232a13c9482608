"""What builds images in tests, and reads them."""

from __future__ import annotations

from pathlib import Path
from threading import Event
from typing import Any

import attrs
from local_engines import LocalEngine

from fal_core.events import Log
from fal_env_container import Container, ContainerImage
from fal_env_container.building.keys import find_or_build
from fal_env_container.images.built_images import BuiltImage


@attrs.define
class ImageBuilder:
    """
    Builds images of Dockerfiles, and keeps the log lines of the last build.

    Attributes:
        base: The image that Dockerfiles stand on that name none.

        folder: Their context.
    """

    engine: LocalEngine
    base: str
    folder: Path
    logs: list[Log] = attrs.field(factory=list)

    def declare(self, text: str, *, force: bool = False, **options: Any) -> Container:
        whole = text if text.startswith("FROM") else f"FROM {self.base}\n{text}"
        options.setdefault("context_dir", self.folder)
        return Container(image=ContainerImage(whole, **options), force=force)

    def __call__(self, environment: Container, cancelled: Event | None = None) -> BuiltImage:
        self.logs.clear()
        _, image = find_or_build(environment.request, self.logs.append, cancelled or Event())
        return image

    def read(self, image: BuiltImage, *command: str) -> str:
        """Return what *command* prints in a container of *image*."""
        alone = ("--rm", "--pull=never", "--network=none")
        return self.engine.run("run", *alone, image.id, *command)

    @property
    def messages(self) -> list[str]:
        return [line.message for line in self.logs]

    @property
    def state(self) -> tuple[set[str], set[str], list[str]]:
        """All images and containers of the engine, and the directories of builds."""
        places = sorted(self.folder.parent.glob("cache/containers/building/*.????????"))
        return self.engine.images(), self.engine.containers(), [each.name for each in places]
