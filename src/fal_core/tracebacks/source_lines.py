"""
Source lines of remote tracebacks: the caller has the file, or the cell of the notebook, where
the host may not.
"""

from __future__ import annotations

import linecache
import os
import re
import stat

from fal_core_worker.opening.exceptions import RemoteTraceback

#: Bytes of the largest file that is taken for source.
_LARGEST = 1 << 24

_FRAME = re.compile(r'^  File "(.+)", line (\d+), in ')


def fill_in(error: BaseException) -> None:
    """
    Add the source lines that the remote tracebacks of *error* lack, as far as they are known
    here.
    """
    left: list[BaseException] = [error]
    seen: set[int] = set()
    while left:
        each = left.pop()
        if id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, RemoteTraceback):
            each.text = with_lines(each.text)
        left += getattr(each, "exceptions", ())
        left += [other for other in (each.__cause__, each.__context__) if other is not None]


def with_lines(text: str) -> str:
    """Return a traceback with the source line below each frame that has none."""
    lines = text.split("\n")
    filled: list[str] = []
    for line, below in zip(lines, [*lines[1:], ""], strict=True):
        filled.append(line)
        frame = _FRAME.match(line)
        if frame is None or below.startswith("    "):
            continue
        source = _line_of(frame[1], int(frame[2]))
        if source:
            filled.append(f"    {source}")
    return "\n".join(filled)


def _line_of(path: str, number: int) -> str:
    """
    Return a line of a file or a cell; empty where there is none. What a worker has sent may
    name anything: a device, a pipe or a file that is no source is not read.
    """
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        # It may be the cell of a notebook.
        pass
    else:
        if not stat.S_ISREG(status.st_mode) or status.st_size > _LARGEST:
            return ""
    return linecache.getline(path, number).strip()
