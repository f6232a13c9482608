"""Images of containers, and what is read of a Dockerfile and a .dockerignore."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_env_container import ContainerImage
else:
    try:
        from fal_env_container import ContainerImage
    except ImportError:

        class ContainerImage:
            """Stands for an image where functions run: its declaration is not needed there."""

            def __init__(self, dockerfile_str: str = "", **options: Any) -> None:
                self.dockerfile_str = dockerfile_str
                self.options = options

            @classmethod
            def from_dockerfile_str(cls, text: str, **kwargs: Any) -> ContainerImage:
                """Return an image of the text of a Dockerfile."""
                return cls(text, **kwargs)

            @classmethod
            def from_dockerfile(cls, path: str, **kwargs: Any) -> ContainerImage:
                """Return an image of a Dockerfile, which is not read here."""
                return cls(path, **kwargs)


__all__ = ["ContainerImage", "DockerfileParser", "DockerignoreHandler"]


@dataclass
class DockerfileParser:
    """
    The text of a Dockerfile.

    Attributes:
        normalized_content: The text with lines that go on joined.
    """

    content: str
    normalized_content: str = field(init=False)

    def __post_init__(self) -> None:
        self.normalized_content = re.sub(r"\\\n\s*", " ", self.content)

    def parse_copy_add_sources(self) -> list[str]:
        """Return what ``COPY`` and ``ADD`` name of the context, in the order of the Dockerfile."""
        from fal_env_container.images.service_sources import copied_sources

        return copied_sources(self.content)


@dataclass
class DockerignoreHandler:
    """
    What of a context is left out: *dockerignore*, else the lines of the file
    *dockerignore_path*, else those of ``.dockerignore`` in *context_dir*, else the default
    patterns.
    """

    context_dir: str | os.PathLike[str] | None = None
    dockerignore: list[str] | None = None
    dockerignore_path: str | os.PathLike[str] | None = None

    def get_patterns(self) -> list[str]:
        """
        Return the patterns, without comments.

        Raises:
            FileNotFoundError: There is no file *dockerignore_path*.
        """
        from fal_env_container.images.ignore_patterns import DEFAULT_PATTERNS

        if self.dockerignore is not None:
            return self.dockerignore
        if self.dockerignore_path is not None:
            return _read_patterns(Path(self.dockerignore_path))
        if self.context_dir is not None:
            path = Path(self.context_dir) / ".dockerignore"
            if path.is_file():
                return _read_patterns(path)
        return list(DEFAULT_PATTERNS)

    def get_regex_patterns(self) -> list[str]:
        """Return the patterns as regular expressions, which are read as those of a .gitignore."""
        from fal_env_container.images.service_sources import ignored_expressions

        return ignored_expressions(self.get_patterns())


def _read_patterns(path: Path) -> list[str]:
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path} to ignore by.")
    lines = (line.strip() for line in path.read_text("utf-8-sig").splitlines())
    return [line for line in lines if line and not line.startswith("#")]
