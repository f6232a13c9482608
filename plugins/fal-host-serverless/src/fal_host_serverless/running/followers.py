"""
Threads that follow runs, each one run after the other.

They are reused, since starting a thread takes longer than everything else that is done
here for a call.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeAlias

#: Seconds without work after which a thread ends.
_IDLE = 5.0

_Inbox: TypeAlias = "SimpleQueue[Callable[[], None]]"

_lock = threading.Lock()
_idle: list[_Inbox] = []


def follow(work: Callable[[], None]) -> None:
    """Run *work*, which must not raise, on another thread."""
    with _lock:
        inbox = _idle.pop() if _idle else None
    if inbox is None:
        inbox = SimpleQueue()
        threading.Thread(
            target=_follow, args=(inbox,), name="fal-core follower", daemon=True
        ).start()
    inbox.put(work)


def _follow(inbox: _Inbox) -> None:
    while True:
        try:
            inbox.get(timeout=_IDLE)()
        except Empty:
            with _lock:
                if inbox in _idle:
                    _idle.remove(inbox)
                    return
            # Work is on its way to this thread.
            continue
        with _lock:
            _idle.append(inbox)


def _forget() -> None:
    global _lock
    _lock = threading.Lock()
    _idle.clear()


# A forked child has none of the threads.
os.register_at_fork(after_in_child=_forget)
