"""
Calls that have an outcome and no end: after a while the core ends them itself.
"""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from fal_core.sinks.event_thread import get_event_thread

if TYPE_CHECKING:
    from fal_core.sinks.call_sinks import CallSink

#: Seconds between two looks. A call is ended at the second look after its outcome.
INTERVAL = 15.0

_lock = threading.Lock()
# The looks that each sink has lived through.
_waiting: dict[CallSink, int] = {}
_looking = False


def expect_end(sink: CallSink) -> None:
    """
    Take note that the call of *sink* has an outcome, and is to end.
    """
    global _looking
    _waiting[sink] = 0
    if not _looking:
        with _lock:
            if not _looking:
                _looking = True
                get_event_thread().after(INTERVAL, _look)


def note_end(sink: CallSink) -> None:
    """
    Take note that the call of *sink* has ended.
    """
    _waiting.pop(sink, None)


def _look() -> None:
    global _looking
    for sink, looks in list(_waiting.items()):
        if not looks:
            _waiting[sink] = 1
        elif _waiting.pop(sink, None) is not None:
            from fal_core.sinks.breaches import log_missing_end

            log_missing_end(sink.host_name)
            sink.give_up()
    with _lock:
        _looking = bool(_waiting)
        if _looking:
            get_event_thread().after(INTERVAL, _look)
