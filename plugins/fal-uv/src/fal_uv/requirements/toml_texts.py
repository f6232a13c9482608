"""
TOML: files and blocks that say what a program or a project requires.
"""

from __future__ import annotations

import sys
from typing import Any

from fal_core.errors import OptionError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: str) -> dict[str, Any]:
    """
    Return what is in the file *path*.

    Raises:
        OptionError: It cannot be read, or is no TOML.
    """
    try:
        with open(path, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeError) as error:
        raise OptionError(f"{path} cannot be read: {error}.") from error
    return parse_toml(text, path)


def parse_toml(text: str, path: str) -> dict[str, Any]:
    """
    Return what the *text* in the file *path* says.

    Raises:
        OptionError: It is no TOML.
    """
    try:
        found: dict[str, Any] = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path} is not valid TOML: {error}.") from error
    return found


def table(found: dict[str, Any], *names: str) -> dict[str, Any]:
    """
    Return the table at *names* in what was *found*; empty where there is none.
    """
    for name in names:
        inner = found.get(name)
        if not isinstance(inner, dict):
            return {}
        found = inner
    return found
