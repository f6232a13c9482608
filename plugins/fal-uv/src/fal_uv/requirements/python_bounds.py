"""
The Pythons that files of requirements are written for.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from itertools import product

from fal_core.declaring import inline_metadata
from fal_core.errors import OptionError
from fal_uv.requirements.pythons import running_python

#: What a number of a version may be, the latest first.
_NUMBERS = tuple(map(str, reversed(range(100))))


def check_bounds(entries: Iterable[str], python_version: str | None) -> None:
    """
    Check that programs and projects among *entries* are written for the environment's Python.

    Arguments:
        python_version: As the environment declares it.

    Raises:
        OptionError: A ``requires-python`` excludes it.
    """
    version = (python_version or running_python().version).strip().rstrip("t")
    for entry in entries:
        path = entry.removeprefix("-r ")
        if path == entry or not path.endswith((".py", os.sep + "pyproject.toml")):
            continue
        bounds = _bounds_of(path)
        if bounds is not None and not _allows(bounds, version):
            raise OptionError(
                f"Requirement {path!r} requires Python {bounds}, and the environment has "
                f"{version}. Ask for another Python with python_version."
            )


def _bounds_of(path: str) -> str | None:
    if path.endswith(".py"):
        text = inline_metadata(path) or ""
    else:
        with open(path, encoding="utf-8", errors="replace") as file:
            text = file.read()
    found = re.search(r"""^\s*requires-python\s*=\s*["']([^"'\n]*)["']""", text, re.MULTILINE)
    return found and found[1]


def _allows(bounds: str, version: str) -> bool:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        specifiers = SpecifierSet(bounds)
    except InvalidSpecifier:
        return True  # uv says what is wrong with it.
    numbers = version.split(".")
    # Each number that is left out may be any.
    others = product(_NUMBERS, repeat=3 - len(numbers))
    return any(specifiers.contains(".".join([*numbers, *each])) for each in others)
