"""
``map``: a function over many items, with a bounded window.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count, islice, repeat
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batch, Batcher
from fal_core.events import Event
from fal_core.sinks.outcomes import ItemOutcome
from fal_core_worker.stream.frames import RAISED

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher

#: How many items are taken at once, at most.
STRIDE = 64
#: Seconds for so many, above which they are launched as they come.
SLOW = 0.001


class Mapping(Iterator[Any]):
    """
    The results of a map; it takes items, and launches them, as it is iterated over.

    It is closed, and what runs is ended, when it is exhausted, raises, is
    closed, or is forgotten.
    """

    def __init__(
        self,
        launcher: Launcher,
        iterables: tuple[Iterable[Any], ...],
        *,
        ordered: bool,
        return_exceptions: bool,
        window: int | None,
    ) -> None:
        # First of all: whoever forgets a map that could not be made asks for it.
        self._closed = True
        self._events: SimpleQueue[tuple[Batch, Event]] = SimpleQueue()
        timeout = launcher.policy.timeout
        self._batcher = Batcher(launcher, self._put, self._deliver, timeout=timeout)
        # The shortest ends it, as it ends the built-in map.
        arguments: Iterator[Any] = zip(zip(*iterables), repeat({}))  # noqa: B905
        self._inputs: Iterator[Any] | None = zip(arguments, count())
        self._stride = 1
        self._input_error: BaseException | None = None
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._window = window
        # Outcomes that nobody has taken yet: by number, or as they came.
        self._ready: dict[int, ItemOutcome] = {}
        self._come: deque[ItemOutcome] = deque()
        self._taken = 0
        self._next = 0
        self._closed = False

    def __iter__(self) -> Mapping:
        return self

    def __next__(self) -> Any:
        while not self._closed:
            if self._ordered:
                outcome = self._ready.pop(self._next, None)
            else:
                outcome = self._come.popleft() if self._come else None
            if outcome is not None:
                self._next += 1
                if outcome[0] != RAISED or self._return_exceptions:
                    return outcome[1]
                self.close()
                raise outcome[1]
            try:
                self._advance()
            except BaseException:
                self.close()
                raise
        raise StopIteration

    def close(self) -> None:
        """
        End what runs and take no more items.
        """
        self._closed = True
        self._inputs = None
        self._batcher.waiting.clear()
        for batch in list(self._batcher.running):
            if batch.execution is not None:
                batch.execution.cancel(self._batcher.launcher.policy.grace)
        self._batcher.running.clear()

    def __del__(self) -> None:
        if not self._closed:
            self.close()

    def _put(self, batch: Batch, event: Event) -> None:
        self._events.put((batch, event))

    def _deliver(self, tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        if self._ordered:
            self._ready.update(zip(tags, outcomes, strict=True))
        else:
            self._come.extend(outcomes)

    def _advance(self) -> None:
        """
        Take items, launch them, and wait for an event if nothing else can be done.
        """
        self._take_inputs()
        self._batcher.more = self._inputs is not None
        self._batcher.launch_waiting()
        # Let the thread that reads go first: what it has read lets workers go on.
        time.sleep(0)
        if self._handle_events(block=False) or self._is_next_ready():
            return
        if self._batcher.running:
            self._handle_events(block=True)
        elif self._inputs is None and not self._batcher.waiting:
            self._closed = True
            if self._input_error is not None:
                raise self._input_error

    def _is_next_ready(self) -> bool:
        return self._next in self._ready if self._ordered else bool(self._come)

    def _handle_events(self, *, block: bool) -> bool:
        handled = False
        try:
            while True:
                batch, event = self._events.get(block and not handled)
                self._batcher.handle(batch, event)
                handled = True
        except Empty:
            pass
        if handled:
            self._batcher.launch_waiting()
        return handled

    def _take_inputs(self) -> None:
        room = self._batcher.room
        if self._window is not None:
            room = min(room, self._window - (self._taken - self._next))
        else:
            # Results that nobody has taken yet count as well.
            room = min(room, 16 * 4096 - len(self._ready) - len(self._come))
        waiting = self._batcher.waiting
        while room > 0 and self._inputs is not None:
            wanted = min(room, self._stride)
            before = len(waiting)
            began = time.monotonic()
            try:
                waiting.extend(islice(self._inputs, wanted))
            except Exception as error:
                # What was taken before is finished first.
                self._input_error = error
                self._inputs = None
            taken = len(waiting) - before
            if taken < wanted:
                self._inputs = None
            self._taken += taken
            room -= taken
            if time.monotonic() - began > SLOW:
                # They come slowly: those there are need not wait for the others.
                self._stride = 1
                return
            self._stride = min(2 * self._stride, STRIDE)
