"""Notebooks: errors that IPython shows, and tracebacks without frames that hide themselves."""

from __future__ import annotations

import sys
import traceback
from types import FrameType, ModuleType, TracebackType

import pytest

from fal_core.tracebacks.notebooks import hide_calls, without_hidden


def current_frame(*, hidden: bool) -> FrameType:
    if hidden:
        __tracebackhide__ = True
    return sys._getframe()


def test_an_error_is_its_own_while_ipython_is_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another thread may have begun to import IPython, which has no function yet."""
    monkeypatch.setitem(sys.modules, "IPython", ModuleType("IPython"))
    error = LookupError("gone")
    hide_calls(error)
    assert not hasattr(error, "_render_traceback_")


def test_a_deep_traceback_is_shown_without_hidden_frames() -> None:
    """What remains is in order, however many frames there are."""
    shown, hidden = current_frame(hidden=False), current_frame(hidden=True)
    trace: TracebackType | None = None
    for number in range(2 * sys.getrecursionlimit(), 0, -1):
        trace = TracebackType(trace, hidden if number % 2 else shown, 0, number)
    kept = [line for _, line in traceback.walk_tb(without_hidden(trace))]
    assert kept == list(range(2, 2 * sys.getrecursionlimit() + 1, 2))
    assert without_hidden(TracebackType(None, hidden, 0, 1)) is None
