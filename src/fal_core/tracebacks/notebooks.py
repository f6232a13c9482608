"""
Notebooks: IPython shows the last frame of a traceback even if it hides itself. It asks an
error that can show itself to do so, as those of a call do here.
"""

from __future__ import annotations

import functools
import sys
import traceback
from types import TracebackType
from typing import Any


def hide_calls(error: BaseException) -> None:
    """Let IPython, if it runs, show *error* without the frames that hide themselves."""
    # One that another thread is importing has no function yet.
    get_shell = getattr(sys.modules.get("IPython"), "get_ipython", None)
    if get_shell is None or get_shell() is None:
        return
    if hasattr(error, "_render_traceback_"):
        return
    try:
        error._render_traceback_ = _Shown(error)  # type: ignore[attr-defined]  # IPython's
    except Exception:
        return  # Its class takes no attributes.


class _Shown:
    """Shows *error* as IPython would, but for frames that hide themselves."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    def __call__(self, *_: Any) -> list[str]:
        error = self._error
        shell = sys.modules["IPython"].get_ipython()
        trace = without_hidden(error.__traceback__) or error.__traceback__
        lines: list[str] = shell.InteractiveTB.structured_traceback(type(error), error, trace)
        return lines

    def __reduce__(self) -> tuple[Any, ...]:
        # Another process need not have this package.
        return functools.partial, (traceback.format_exception, self._error)


def without_hidden(trace: TracebackType | None) -> TracebackType | None:
    """Return *trace* without the frames that hide themselves; None if there are no others."""
    shown = []
    while trace is not None:
        if trace.tb_frame.f_locals.get("__tracebackhide__") is not True:
            shown.append(trace)
        trace = trace.tb_next
    kept = None
    for each in reversed(shown):
        kept = TracebackType(kept, each.tb_frame, each.tb_lasti, each.tb_lineno)
    return kept
