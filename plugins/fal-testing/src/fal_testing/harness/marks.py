"""
Marks: lines that functions leave in a file on their machine, for later calls to read.

Where a host runs a later call on another machine, it finds no marks; a law must hold
then too.
"""

from __future__ import annotations

import atexit
import os
import time
from collections.abc import Callable
from typing import Any

#: The decorator as the fixture ``isolated`` gives it.
Isolated = Callable[..., Callable[[Callable[..., Any]], Any]]


class Marks:
    """
    Lines that functions add to a temporary file on their machine.

    Attributes:
        add: A function that adds a line; it travels with the functions that call it.

        look: A function that returns the lines so far; it travels likewise.
    """

    def __init__(self, isolated: Isolated) -> None:
        name = f"fal-core-marks-{os.urandom(8).hex()}"
        _names.add(name)
        self.add: Callable[[object], None] = _make_add(name)
        self.look: Callable[[], list[str]] = _make_read(name)
        self._read = isolated()(self.look)
        self._remove = isolated()(_make_remove(name))

    def read(self) -> list[str]:
        """Return the lines so far."""
        lines: list[str] = self._read()
        return lines

    def rest_for(self, seconds: float) -> bool:
        """Return whether no line is added for *seconds*."""
        before = self.read()
        time.sleep(seconds)  # A function that runs on would add a line meanwhile.
        return self.read() == before

    def remove(self) -> None:
        """Remove the file."""
        self._remove()


# A broken host removes nothing, and a function that runs on may make the file again.
_names: set[str] = set()


def _remove_from_here() -> None:
    """Remove the files on this machine when this process exits."""
    for name in _names:
        _make_remove(name)()


atexit.register(_remove_from_here)


def _make_add(name: str) -> Callable[[object], None]:
    # A function made here travels by value: the worker needs none of our modules.
    def add(line: object) -> None:
        import os
        import tempfile

        path = os.path.join(tempfile.gettempdir(), name)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(descriptor, f"{line}\n".encode())
        os.close(descriptor)

    return add


def _make_read(name: str) -> Callable[[], list[str]]:
    def read_marks() -> list[str]:
        import os
        import tempfile

        try:
            with open(os.path.join(tempfile.gettempdir(), name)) as file:
                return file.read().splitlines()
        except FileNotFoundError:
            return []

    return read_marks


def _make_remove(name: str) -> Callable[[], None]:
    def remove_marks() -> None:
        import os
        import tempfile

        try:
            os.unlink(os.path.join(tempfile.gettempdir(), name))
        except FileNotFoundError:
            pass

    return remove_marks
