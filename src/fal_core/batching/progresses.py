"""Progress of maps: how many items have ended, shown while it runs."""

from __future__ import annotations

import html
import time
from collections.abc import Iterable, Sized

from fal_core.batching.items import ItemOutcome
from fal_core.events import Log
from fal_core.reprs import show_seconds
from fal_core.sinks.notebooks import NotebookOutput, in_notebook
from fal_core.sinks.printing import erase, print_log
from fal_core_worker.stream.frames import RAISED

#: Seconds between two times that it is drawn.
_INTERVAL = 0.1


def count_items(iterables: Iterable[Iterable[object]]) -> int | None:
    """Return how many items a map over *iterables* has. None where one does not say."""
    sizes = [len(each) if isinstance(each, Sized) else None for each in iterables]
    known = [size for size in sizes if size is not None]
    return min(known) if known and len(known) == len(sizes) else None


class MapProgress:
    """
    Shows how many items of a map have ended: as a line that is redrawn on a terminal, as HTML
    in a notebook, and elsewhere as one line at the end. The line goes to standard error.

    Arguments:
        total: How many items there are, if that is known.
    """

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total
        self._done = self._failed = 0
        self._began = time.monotonic()
        self._drawn = 0.0
        self._output = NotebookOutput() if in_notebook() else None
        self._closed = False

    def add(self, outcomes: Iterable[ItemOutcome]) -> None:
        """Count items that have ended, and show how many have."""
        for kind, _ in outcomes:
            self._done += 1
            self._failed += kind == RAISED
        now = time.monotonic()
        if now - self._drawn >= _INTERVAL and not self._closed:
            self._drawn = now
            self._show(now - self._began)

    def close(self) -> None:
        """Show for the last time how many items have ended, if any has, and how long it took."""
        if self._closed or not self._done:
            return
        self._closed = True
        took = time.monotonic() - self._began
        if self._output is not None:
            self._show(took)
            return
        erase()
        print_log(Log(self.describe(took), "INFO", "BRIDGE"))

    def describe(self, took: float) -> str:
        """Return how far the map is after *took* seconds."""
        total = "" if self._total is None else f" of {self._total}"
        failed = f" ({self._failed} failed)" if self._failed else ""
        line = f"{self._name}: {self._done}{total}{failed} in {show_seconds(took)}"
        if self._closed or self._total is None or not self._done:
            return line
        left = took / self._done * (self._total - self._done)
        return f"{line}, about {show_seconds(left)} left"

    def _show(self, took: float) -> None:
        text = self.describe(took)
        if self._output is None:
            print_log(Log(text, "INFO", "BRIDGE", partial=True))
            return
        most = self._total if self._total is not None else self._done
        bar = f'<progress value="{self._done}" max="{max(most, 1)}"></progress>'
        self._output.show(f"<div>{bar} {html.escape(text)}</div>", text)
