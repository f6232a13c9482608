"""``map``: calls for many items, of which a bounded number is under way."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import count, islice, repeat
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batch, Batcher, Handler
from fal_core.batching.items import Arguments, ItemOutcome
from fal_core.calling.launcher import Launcher
from fal_core.errors import OptionError
from fal_core.events import Event
from fal_core.sinks.requests import try_cancel
from fal_core.tracebacks.notes import note_item
from fal_core.tracebacks.trimming import trim, trim_to_user
from fal_core_worker.stream.frames import RAISED

if TYPE_CHECKING:
    from fal_core.batching.progresses import MapProgress

#: How many items are taken from the input at once, at most.
STRIDE = 64
#: Seconds that taking them may need; above it they are launched one by one.
SLOW = 0.001


class Mapped(Iterator[Any]):
    """
    The results of a map. Items are taken and launched as it is iterated over.

    It is closed, and the calls that run are ended, when it is exhausted, raises, or is
    no longer referred to.

    Arguments:
        arguments: The arguments of each item, with names, in place of *iterables*.

        progress: Show how many items have ended.
    """

    def __init__(
        self,
        launcher: Launcher,
        iterables: tuple[Iterable[Any], ...] = (),
        *,
        arguments: Iterable[Arguments] | None = None,
        ordered: bool = True,
        return_exceptions: bool = False,
        window: int | None = None,
        progress: bool = False,
    ) -> None:
        # First of all: __del__ needs it if the rest of this method raises.
        self._closed = True
        if window is not None and window < 1:
            raise OptionError(f"Argument 'window' must be at least 1, not {window}.")
        self._events: SimpleQueue[tuple[Handler, Batch, Event]] = SimpleQueue()
        timeout = launcher.policy.timeout
        self._batcher = Batcher(
            launcher, self._put, self._deliver, timeout=timeout, note=note_item
        )
        self._progress: MapProgress | None = None
        if progress:
            from fal_core.batching.progresses import MapProgress, count_items

            total = count_items(iterables if arguments is None else (arguments,))
            self._progress = MapProgress(launcher.declaration.name, total)
        if arguments is None:
            try:
                # The shortest iterable ends it, as with the built-in map.
                arguments = zip(zip(*iterables), repeat({}))  # noqa: B905
            except TypeError:
                from fal_core.refusing.ways import refuse_items

                refuse_items(iterables)
                raise
        self._inputs: Iterator[Any] | None = zip(arguments, count())
        self._stride = 1
        self._input_error: BaseException | None = None
        self._ordered = ordered
        self._return_exceptions = return_exceptions
        self._window = window
        # Outcomes that were not taken yet: by number, or in the order in which they came.
        self._ready: dict[int, ItemOutcome] = {}
        self._come: deque[ItemOutcome] = deque()
        self._taken = 0
        self._next = 0
        self._closed = False

    def __iter__(self) -> Mapped:
        return self

    def __next__(self) -> Any:
        __tracebackhide__ = True
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
                if isinstance(outcome[1], StopIteration):
                    # As such it would end the map as if there were no more items.
                    raise RuntimeError("An item raised StopIteration.") from outcome[1]
                raise trim(outcome[1])
            try:
                self._advance()
            except Exception as error:
                self.close()
                if error is self._input_error:
                    raise trim_to_user(error)  # noqa: B904  # the same one
                raise trim(error)  # noqa: B904  # the same one
            except BaseException:
                self.close()
                raise
        raise StopIteration

    def close(self) -> None:
        """End the calls that run and take no more items."""
        self._closed = True
        self._inputs = None
        self._batcher.waiting.clear()
        for batch in list(self._batcher.running):
            if batch.execution is not None:
                launcher = self._batcher.launcher
                try_cancel(launcher.opener.host, batch.execution, launcher.policy.grace)
        self._batcher.running.clear()
        if self._progress is not None:
            self._progress.close()

    def __del__(self) -> None:
        if not self._closed:
            self.close()

    def _put(self, handler: Handler, batch: Batch, event: Event) -> None:
        self._events.put((handler, batch, event))

    def _deliver(self, tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        if self._progress is not None:
            self._progress.add(outcomes)
        if self._ordered:
            self._ready.update(zip(tags, outcomes, strict=True))
        else:
            self._come.extend(outcomes)

    def _advance(self) -> None:
        """Take items, launch them, and wait for an event if there is nothing else to do."""
        self._take_inputs()
        self._batcher.more = self._inputs is not None
        self._batcher.launch_waiting()
        # Let the event thread go first: what it reads lets workers go on.
        time.sleep(0)
        if self._handle_events(block=False) or self._is_next_ready():
            return
        if self._batcher.running:
            self._handle_events(block=True)
        elif self._inputs is None and not self._batcher.waiting:
            self.close()
            if self._input_error is not None:
                raise self._input_error

    def _is_next_ready(self) -> bool:
        return self._next in self._ready if self._ordered else bool(self._come)

    def _handle_events(self, *, block: bool) -> bool:
        handled = False
        try:
            while True:
                handler, batch, event = self._events.get(block and not handled)
                handler(batch, event)
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
            # Results that were not taken yet count as well.
            room = min(room, 16 * 4096 - len(self._ready) - len(self._come))
        waiting = self._batcher.waiting
        while room > 0 and self._inputs is not None:
            wanted = min(room, self._stride)
            before = len(waiting)
            began = time.monotonic()
            try:
                waiting.extend(islice(self._inputs, wanted))
            except Exception as error:
                # Items that were taken before are finished first.
                self._input_error = error
                self._inputs = None
            taken = len(waiting) - before
            if taken < wanted:
                self._inputs = None
            self._taken += taken
            room -= taken
            if time.monotonic() - began > SLOW:
                # They come slowly: the first ones must not wait for the others.
                self._stride = 1
                return
            self._stride = min(2 * self._stride, STRIDE)
