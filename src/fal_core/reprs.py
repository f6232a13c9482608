"""
How values are shown.

attrs compiles a ``__repr__`` for each class, which takes half of the time of making the
class. Sharing one, as in ``__repr__ = show_fields``, keeps the import short.
"""

from __future__ import annotations

from typing import Any

import attrs


def show_fields(self: Any) -> str:
    """
    Show an instance of an attrs class as attrs would.
    """
    shown = []
    for field in attrs.fields(type(self)):
        if field.repr:
            show = field.repr if callable(field.repr) else repr
            shown.append(f"{field.name}={show(getattr(self, field.name))}")
    return f"{type(self).__qualname__.rpartition('>.')[2]}({', '.join(shown)})"


def in_one_line(error: BaseException) -> str:
    """
    Return the message of *error* as part of a sentence: one line, without its full stop.
    """
    return " ".join(str(error).split()).rstrip(".") or "no reason was given"
