"""
Turns: no more calls of a function run at once than it may.

The service makes an application of each call, so it is the launching side that waits.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fal_core.calls import Call

#: Seconds after which a call that waits looks whether it still may.
_LOOK = 0.1


class Turns:
    """
    The calls of each function that declares ``max_concurrency``, first come first.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[str, list[object]] = {}

    @contextmanager
    def taken(self, call: Call, may_wait: Callable[[], bool]) -> Iterator[None]:
        """
        Wait for the turn of *call*, and hold it; give up once *may_wait* says so.
        """
        limit = call.host_options.max_concurrency
        if limit is None:
            yield
            return
        key, turn = call.function.digest, object()
        with self._changed:
            queue = self._queues.setdefault(key, [])
            queue.append(turn)
            while queue.index(turn) >= limit and may_wait():
                self._changed.wait(_LOOK)
        try:
            yield
        finally:
            with self._changed:
                queue.remove(turn)
                if not queue:
                    self._queues.pop(key, None)
                self._changed.notify_all()
