"""Source lines of remote tracebacks."""

from __future__ import annotations

import linecache
import os
from pathlib import Path

from fal_core.tracebacks.source_lines import fill_in, with_lines
from fal_core_worker.opening.exceptions import RemoteTraceback

CELL = "/tmp/ipykernel_1/2.py"


def test_lines_are_added_where_they_are_missing(tmp_path: Path) -> None:
    """
    A frame whose line the host did not have gets it from the file of the caller; what the
    host has shown stays, and so do frames whose file nobody has.
    """
    file = tmp_path / "mine.py"
    file.write_text("def f():\n    return 1 / 0\n")
    text = "\n".join(
        [
            "Traceback (most recent call last):",
            f'  File "{file}", line 2, in f',
            f'  File "{file}", line 1, in g',
            "    shown there",
            '  File "/nowhere/x.py", line 3, in h',
            "ZeroDivisionError: division by zero",
            "",
        ]
    )
    lines = text.split("\n")
    assert with_lines(text).split("\n") == [*lines[:2], "    return 1 / 0", *lines[2:]]


def test_cells_of_notebooks_have_their_lines() -> None:
    """What a notebook keeps in ``linecache`` is found, down to the causes of an error."""
    linecache.cache[CELL] = (5, None, ["1 / 0\n"], CELL)
    try:
        error = ValueError()
        error.__cause__ = cause = RemoteTraceback("ValueError\n")
        cause.__context__ = inner = KeyError()
        inner.__cause__ = remote = RemoteTraceback(f'  File "{CELL}", line 1, in f\nKeyError\n')
        fill_in(error)
    finally:
        del linecache.cache[CELL]
    assert remote.text == f'  File "{CELL}", line 1, in f\n    1 / 0\nKeyError\n'


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    """A traceback that names a pipe, a device or what is too large for source stays as it came."""
    large = tmp_path / "large.py"
    with large.open("wb") as file:
        file.write(b"x = 1\n")
        file.truncate(1 << 25)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    text = f'Traceback (most recent call last):\n  File "{pipe}", line 1, in f\nValueError'
    assert with_lines(text) == text
    assert with_lines(text.replace(str(pipe), "/dev/zero")).count("\n") == 2
    assert with_lines(text.replace(str(pipe), str(large))).count("\n") == 2
