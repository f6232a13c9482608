"""
Turns of calls, where a function limits how many of its calls run at once.

The service makes an application of each call, so the limit is kept on this side.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from fal_core.calls import Call

#: Seconds between two looks of a waiting call at whether it was cancelled.
_LOOK = 0.1


class Turns:
    """A queue of calls for each function that declares ``max_concurrency``."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._queues: dict[str, list[object]] = {}

    @contextmanager
    def taken(self, call: Call, may_wait: Callable[[], bool]) -> Iterator[None]:
        """
        Wait for the turn of *call*, and hold it during the context.

        Arguments:
            may_wait: Returns False once waiting is to end; the context begins without a
                turn then.
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
