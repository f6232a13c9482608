"""Files in TOML, on every Python that fal-core supports."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

if TYPE_CHECKING:
    from pathlib import Path

TomlError = tomllib.TOMLDecodeError


def read_toml(path: Path) -> dict[str, Any]:
    """
    Return the content of the file at *path*.

    Raises:
        OSError: It cannot be read.

        TomlError: It is not valid TOML.
    """
    return parse_toml(path.read_text("utf-8"))


def parse_toml(text: str) -> dict[str, Any]:
    """
    Return the content of *text*.

    Raises:
        TomlError: It is not valid TOML.
    """
    content: dict[str, Any] = tomllib.loads(text)
    return content
