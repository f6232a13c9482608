"""Tests that pages of the documentation name, as ``folder/file.py::test``."""

from __future__ import annotations

import functools
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]

#: What the first word of a name stands for.
FOLDERS = {
    "local": "plugins/fal-host-local/tests",
    "uv": "plugins/fal-uv/tests",
    "virtualenv": "plugins/fal-env-virtualenv/tests",
    "machines": "plugins/fal-machines/tests",
    "ray": "plugins/fal-host-ray/tests",
    "conda": "plugins/fal-env-conda/tests",
    "container": "plugins/fal-env-container/tests",
    "serve": "plugins/fal-serve/tests",
    "server": "plugins/fal-server/tests",
    "laws": "plugins/fal-testing/src/fal_testing/laws",
    "tests": "tests",
}

Name = tuple[str, str, str]


def read_page(name: str) -> str:
    """Return the text of a page of the documentation."""
    return (ROOT / "docs" / name).read_text("utf-8")


def names_in(text: str) -> list[Name]:
    """Return the tests that *text* names: the folder, the file in it, and the function."""
    return re.findall(r"`(\w+)/([\w/]+\.py)::(\w+)`", text)


def is_there(name: Name) -> bool:
    """Return whether the test exists."""
    folder, file, function = name
    return function in functions_in(ROOT / FOLDERS[folder] / file)


@functools.cache
def functions_in(path: Path) -> frozenset[str]:
    """Return the functions of a file that are in no class; none where there is no file."""
    if not path.is_file():
        return frozenset()
    found = re.findall(r"^(?:async )?def (\w+)\(", path.read_text("utf-8"), re.MULTILINE)
    return frozenset(found)
