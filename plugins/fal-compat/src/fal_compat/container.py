"""
Images of containers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_env_container import ContainerImage
else:
    try:
        from fal_env_container import ContainerImage
    except ImportError:

        class ContainerImage:
            """
            Stands for an image where functions run: its declaration is not needed there.
            """

            def __init__(self, dockerfile_str: str = "", **options: Any) -> None:
                self.dockerfile_str = dockerfile_str
                self.options = options

            @classmethod
            def from_dockerfile_str(cls, text: str, **kwargs: Any) -> ContainerImage:
                """
                Return an image of the text of a Dockerfile.
                """
                return cls(text, **kwargs)

            @classmethod
            def from_dockerfile(cls, path: str, **kwargs: Any) -> ContainerImage:
                """
                Return an image of a Dockerfile, which is not read here.
                """
                return cls(path, **kwargs)


__all__ = ["ContainerImage"]
