"""Files in TOML, on every Python that fal-core supports."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

TomlError = tomllib.TOMLDecodeError


def parse_toml(text: str) -> dict[str, Any]:
    """
    Return the content of *text*.

    Raises:
        TomlError: It is not valid TOML.
    """
    content: dict[str, Any] = tomllib.loads(text)
    return content


_HEADER = re.compile(r"\s*\[\[?(.+?)\]\]?\s*(?:#.*)?")
_PART = re.compile(r"\"([^\"]*)\"|'([^']*)'|([^.\s\"']+)")


def find_line(text: str, names: Sequence[str]) -> int | None:
    """
    Return the number of the line of *text*, which is valid TOML, where the value or the table
    of *names* is written. Where that is not seen, it is the line of what it lies in.
    """
    wanted = list(names)
    around: list[str] = []
    best, depth = None, 0
    for number, line in enumerate(text.splitlines(), 1):
        if header := _HEADER.fullmatch(line):
            around = found = _parts_of(header[1])
        else:
            key, separator, value = line.partition("=")
            if not separator:
                continue
            found = [*around, *_parts_of(key)]
            rest = wanted[len(found) :]
            if found == wanted[: len(found)] and rest and _names(value, rest[-1]):
                # A table in one line.
                found = wanted
        if found[: len(wanted)] == wanted:
            return number
        if found == wanted[: len(found)] and len(found) > depth:
            best, depth = number, len(found)
    return best


def _parts_of(dotted: str) -> list[str]:
    return ["".join(parts) for parts in _PART.findall(dotted)]


def _names(value: str, key: str) -> bool:
    return re.search(rf"(?<![\w-])[\"']?{re.escape(key)}[\"']?\s*=", value) is not None
