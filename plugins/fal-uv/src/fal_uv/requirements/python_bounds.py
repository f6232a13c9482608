"""The Pythons that files of requirements are written for."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import product

from fal_core.declaring import inline_metadata

#: What a number of a version may be, the latest first.
_NUMBERS = tuple(map(str, reversed(range(100))))


def is_bounds(version: str) -> bool:
    """Tell whether *version* is written as bounds of versions."""
    return version.strip().startswith((">", "<", "=", "!", "~"))


def bounds_in(paths: Iterable[str]) -> list[tuple[str, str]]:
    """
    Return those of the files and directories *paths* that say which Pythons they are written
    for, each with the bounds.
    """
    found = []
    for path in dict.fromkeys(paths):
        bounds = _bounds_of(path)
        if bounds is not None:
            found.append((path, bounds))
    return found


def _bounds_of(path: str) -> str | None:
    if path.endswith(".py"):
        text = inline_metadata(path) or ""
    elif path.endswith(".toml") or os.path.basename(path) == "uv.lock":
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    else:
        return None
    found = re.search(r"""^\s*requires-python\s*=\s*["']([^"'\n]*)["']""", text, re.MULTILINE)
    return found and found[1]


def are_valid(bounds: str) -> bool:
    """Tell whether *bounds* can be read."""
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        SpecifierSet(bounds)
    except InvalidSpecifier:
        return False  # In files, uv says what is wrong with it.
    return True


def allows(bounds: Iterable[str], version: str) -> bool:
    """Tell whether a Python of *version*, which may leave numbers out, may be within *bounds*."""
    from packaging.specifiers import SpecifierSet

    specifiers = SpecifierSet(",".join(bounds))
    numbers = version.split(".")
    # Each number that is left out may be any.
    others = product(_NUMBERS, repeat=max(0, 3 - len(numbers)))
    return any(
        specifiers.contains(".".join([*numbers, *each]), prereleases=True) for each in others
    )
