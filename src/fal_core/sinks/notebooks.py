"""
Notebooks: what is shown as HTML in the output of the cell that runs.

IPython is no dependency: in a notebook it is there already, and nowhere else it is imported.
"""

from __future__ import annotations

import html
import sys
import time
from typing import Any

from fal_core.reprs import show_seconds

#: Seconds between two times that an output is shown.
_INTERVAL = 0.2


def in_notebook() -> bool:
    """Tell whether this process is the kernel of a notebook, which shows HTML."""
    ipython = sys.modules.get("IPython")
    shell = None if ipython is None else ipython.get_ipython()
    # The shell of a terminal has no kernel.
    return getattr(shell, "kernel", None) is not None


class NotebookOutput:
    """An output of the cell that runs, which later values replace."""

    def __init__(self) -> None:
        self._handle: Any = None

    def show(self, markup: str, text: str) -> None:
        """Show *markup*, or *text* where a notebook is read without it."""
        from importlib import import_module

        display = import_module("IPython.display").display
        bundle = {"text/html": markup, "text/plain": text}
        if self._handle is None:
            self._handle = display(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)


class BuildingOutput:
    """Shows in a notebook that an environment is built: its latest line, and the time at the end."""

    def __init__(self) -> None:
        self._output = NotebookOutput()
        self._began = time.monotonic()
        self._drawn = 0.0
        self._show("Building the environment")

    def add(self, line: str) -> None:
        """Show the latest *line* of the builder, unless another was shown just before."""
        now = time.monotonic()
        if now - self._drawn >= _INTERVAL:
            self._show(f"Building the environment: {line.strip()}")

    def close(self, *, built: bool) -> None:
        """Show how long it has taken, and whether it was *built*."""
        took = show_seconds(time.monotonic() - self._began)
        self._show(
            f"Built the environment in {took}." if built else f"It was not built, after {took}."
        )

    def _show(self, text: str) -> None:
        self._drawn = time.monotonic()
        self._output.show(f"<div>{html.escape(text)}</div>", text)
