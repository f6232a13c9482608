"""
Files in which users declare machine types: a table of their project, or a file of its own.

The file that ``FAL_CORE_MACHINES`` names has a table ``[machines.NAME]`` for each machine
type. Without the variable, it is the nearest ``pyproject.toml`` with the table
``[tool.fal-core.machines]`` above the program that runs, or else above the working directory.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator

import attrs

from fal_machines.entries import Document, MachineFileError

VARIABLE = "FAL_CORE_MACHINES"

_PROJECT = "pyproject.toml"


@attrs.frozen
class _File:
    """A file as it was when it was looked at."""

    path: str
    stamp: tuple[int, int]

    @classmethod
    def at(cls, path: str) -> _File | None:
        try:
            found = os.stat(path)
        except OSError:
            return None
        return cls(path, (found.st_mtime_ns, found.st_size))


def find_document() -> Document | None:
    """
    Return what declares machine types for this process; None if nothing does.

    Raises:
        MachineFileError: The file is no TOML, or the variable names one that is not there.
    """
    named = os.environ.get(VARIABLE)
    if named:
        return _read_named(os.path.abspath(named))
    for path in _projects():
        file = _File.at(path)
        document = None if file is None else _read(file, ("tool", "fal-core", "machines"))
        if document is not None and document.entries is not None:
            return document
    return None


def _read_named(path: str) -> Document:
    file = _File.at(path)
    is_project = os.path.basename(path) == _PROJECT
    table = ("tool", "fal-core", "machines") if is_project else ("machines",)
    document = None if file is None else _read(file, table)
    if document is None:
        raise MachineFileError(path, None, f"It cannot be read, although {VARIABLE} names it.")
    if not is_project:
        document.refuse_others()
    return document


@functools.lru_cache(maxsize=64)
def _read(file: _File, table: tuple[str, ...]) -> Document | None:
    """
    Return the content of *file*. None if it cannot be read, or is a project's that says
    nothing of fal-core.
    """
    try:
        with open(file.path, "rb") as stream:
            data = stream.read()
    except OSError:
        return None
    if len(table) > 1 and not (b"fal-core" in data and b"machines" in data):
        # Programs declare functions while they start: most projects need not be parsed.
        return None
    return Document.parse(file.path, table, data)


def _projects() -> Iterator[str]:
    """Yield where a project may be described, the nearest one first."""
    seen = set()
    for start in _starts():
        folder = os.path.abspath(start)
        while folder not in seen:
            seen.add(folder)
            yield os.path.join(folder, _PROJECT)
            folder = os.path.dirname(folder)


def _starts() -> Iterator[str]:
    # Python puts the folder of the program there. That of an installed one is no project.
    program = sys.path[0] if sys.path else ""
    if program and not os.path.abspath(program).startswith(sys.prefix + os.sep):
        yield program
    try:
        yield os.getcwd()
    except OSError:
        # It was removed.
        return
