"""Notes: what is added to an error whose sentence is not ours."""

from __future__ import annotations

import reprlib
from collections.abc import Mapping
from typing import Any

from fal_core_worker.opening.exceptions import RemoteTraceback

#: Characters of one value that are shown.
_LONGEST = 60


def note_item(
    error: BaseException,
    number: int,
    arguments: tuple[Any, ...],
    named: Mapping[str, Any] | None = None,
) -> None:
    """
    Note that *error* is that of an item of a map.

    Arguments:
        number: The place of the item, from 0 on.

        arguments: What the function was called with for it; *named* likewise, by name.
    """
    add_note(error, f"item {number} of the map: {_shown(arguments, named or {})}")


def add_note(error: BaseException, note: str) -> None:
    """
    Add *note* to *error*, as ``add_note`` of Python 3.11 does.

    Python 3.10 shows no notes: there it also stands below the traceback of the host.
    """
    try:
        if hasattr(error, "add_note"):
            error.add_note(note)
            return
        notes = [*getattr(error, "__notes__", ()), note]
        object.__setattr__(error, "__notes__", notes)
    except Exception:
        # An exception whose class takes no attributes is as it was.
        return
    if isinstance(error.__cause__, RemoteTraceback):
        error.__cause__.text += f"{note}\n"


def _shown(arguments: tuple[Any, ...], named: Mapping[str, Any]) -> str:
    """Show *arguments* as a tuple, and those that are *named*, each shortened where it is long."""
    parts = [_shortened(value) for value in arguments]
    parts += [f"{name}={_shortened(value)}" for name, value in named.items()]
    return f"({', '.join(parts)}{',' if len(parts) == 1 and arguments else ''})"


def _shortened(value: Any) -> str:
    if isinstance(value, bytes | bytearray | memoryview) and len(value) > _LONGEST:
        return f"<{type(value).__name__} of {len(value)}>"
    shorten = reprlib.Repr()
    shorten.maxstring = shorten.maxother = shorten.maxlong = _LONGEST
    return shorten.repr(value)
