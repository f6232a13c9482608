"""Calls that have an outcome and no end: after a while the core ends them itself."""

from __future__ import annotations

import os
import threading
import time
from typing import Protocol

from fal_core.sinks.event_thread import get_event_thread


class Awaited(Protocol):
    """The sink of a call, which can end it."""

    def give_up(self) -> None: ...


#: Seconds between two looks for calls whose end is overdue.
INTERVAL = 15.0

_lock = threading.Lock()
# When the outcome of each call came that has not ended. Of a sink that is written here once
# the end can be noted at any time: nothing writes it again.
_waiting: dict[Awaited, float] = {}
_looking = False


def expect_end(sink: Awaited) -> None:
    """Take note that the call of *sink* has an outcome, and is to end."""
    # In this order: a look that is just ending sees it, or this begins another one.
    _waiting[sink] = time.monotonic()
    if not _looking:
        _look_later()


def note_end(sink: Awaited) -> None:
    """Take note that the call of *sink* has ended."""
    _waiting.pop(sink, None)


def _look_later() -> None:
    global _looking
    with _lock:
        if _waiting and not _looking:
            get_event_thread().after(INTERVAL, _look)
            _looking = True


def _look() -> None:
    global _looking
    from fal_core.sinks.breaches import PATIENCE

    with _lock:
        _looking = False
    try:
        overdue = time.monotonic() - PATIENCE
        # A copy, as calls of other threads come and go meanwhile.
        for sink, since in _waiting.copy().items():
            if since <= overdue and _waiting.pop(sink, None) is not None:
                sink.give_up()
    finally:
        # Also where the handler of one end has raised: the others are ended later.
        _look_later()


def _forget() -> None:
    global _lock, _looking
    _lock = threading.Lock()
    _waiting.clear()
    _looking = False


# The calls of a parent end in the parent, and its event thread does not run here.
os.register_at_fork(after_in_child=_forget)
