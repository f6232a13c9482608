"""
The map of the repository: one line for each folder, from the folders' own docstrings.

``python -m house.maps`` prints it for CONTRIBUTING.md.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from house.imports import ROOT, find_packages
from house.order import ORDER


def draw_map() -> Iterator[str]:
    """Yield the lines of the map, as Markdown."""
    for package, directory in sorted(find_packages().items(), key=_by_distribution):
        source = directory.relative_to(ROOT)
        yield f"`{source}/`: {describe(directory)}"
        yield ""
        inner = directory.rglob("__init__.py")
        folders = [path.parent for path in inner if path.parent != directory]
        rows = [place for row in ORDER[package] for place in row.split()]
        # In the order of the way, each before the folders in it.
        folders.sort(key=lambda each: (rows.index(f"{place_of(each, directory)}/"), each))
        if not folders:
            continue
        yield f"| folder of `{package}` | what is in it |"
        yield "|---|---|"
        for folder in folders:
            yield f"| `{folder.relative_to(directory)}/` | {describe(folder)} |"
        yield ""


def place_of(folder: Path, directory: Path) -> str:
    """Return the name of the folder at the top of *directory* that has *folder*."""
    return folder.relative_to(directory).parts[0]


def describe(folder: Path) -> str:
    """Return the first sentence of the docstring of *folder*."""
    docstring = ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or ""
    return " ".join(docstring.split("\n\n")[0].split()).replace("``", "`")


def _by_distribution(pair: tuple[str, Path]) -> tuple[bool, str]:
    # The core comes first.
    return "plugins" in pair[1].parts, pair[0]


if __name__ == "__main__":
    print("\n".join(draw_map()))
