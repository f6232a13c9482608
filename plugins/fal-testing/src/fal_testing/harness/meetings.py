"""Meetings: functions that run at once meet in the process that has launched them."""

from __future__ import annotations

import threading
from collections import defaultdict

_arrived: defaultdict[str, set[int]] = defaultdict(set)
_changed = threading.Condition()


def meet(name: str, number: int, count: int, timeout: float) -> bool:
    """
    Wait until *count* numbers have arrived at the meeting *name*.

    Return False if they have not within *timeout* seconds.
    """
    with _changed:
        _arrived[name].add(number)
        _changed.notify_all()
        return _changed.wait_for(lambda: len(_arrived[name]) >= count, timeout)
