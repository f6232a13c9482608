"""Values: what options may be whose classes belong to plugins."""

from __future__ import annotations

from typing import Protocol


class ImageWithDockerfile(Protocol):
    """An image that is built of a Dockerfile, such as a ``ContainerImage``."""

    @property
    def dockerfile_str(self) -> str: ...
