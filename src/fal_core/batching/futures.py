"""
``submit``: calls whose results are futures.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batch, Batcher
from fal_core.errors import Timeout
from fal_core.events import Event, Exited, Item, Returned
from fal_core.sinks.outcomes import ItemOutcome
from fal_core_worker.stream.frames import RAISED

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher


class CallFuture(Future[Any]):
    """
    The future of a call. Unlike a thread's it can be cancelled while it runs.
    """

    _submitter: Submitter | None = None
    _timer: Any = None

    def cancel(self) -> bool:
        """
        Cancel the call; if it runs already, end it.
        """
        submitter = self._submitter
        if submitter is None or self.done():
            return super().cancel()
        return submitter.cancel(self)


class Submitter:
    """
    Makes the submitted calls of one launcher.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._lock = threading.RLock()
        self._settled: list[tuple[CallFuture, ItemOutcome]] = []
        self._unwanted: set[CallFuture] = set()
        self._batcher = Batcher(launcher, self._take, self._deliver)
        self._launcher = launcher

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture:
        """
        Queue a call, and launch it if the host can take one.
        """
        future = CallFuture()
        future._submitter = self
        batcher = self._batcher
        with self._lock:
            seconds = self._launcher.policy.timeout
            if seconds is not None:
                from fal_core.sinks.event_thread import get_reader

                expire = partial(self._time_out, future, seconds)
                future._timer = get_reader().after(seconds, expire)
            batcher.waiting.append(((args, kwargs), future))
            if len(batcher.running) < batcher.limit:
                batcher.launch_waiting()
        if self._settled:
            self._settle()
        return future

    def cancel(self, future: CallFuture) -> bool:
        """
        Take *future* out of the queue, or end its call.
        """
        with self._lock:
            if future.done():
                return future.cancelled()
            self._withdraw(future)
        self._forget_timer(future)
        Future.cancel(future)
        return True

    def _cancel_alone(self, batch: Batch) -> None:
        """
        End *batch* if everything it has left to do is unwanted.
        """
        left = batch.tags[batch.done : batch.end]
        if left and batch.execution is not None and self._unwanted.issuperset(left):
            batch.execution.cancel(self._launcher.policy.grace)

    def _take(self, batch: Batch, event: Event) -> None:
        with self._lock:
            self._batcher.handle(batch, event)
            kind = type(event)
            if kind is Exited or kind is Returned:
                self._batcher.launch_waiting()
            if self._unwanted and (kind is Returned or kind is Item):
                self._cancel_alone(batch)
        self._settle()

    def _time_out(self, future: CallFuture, seconds: float) -> None:
        """
        End the call of *future*, or take it out of the queue: its time is up.
        """
        with self._lock:
            if future.done():
                return
            # First of all: the end of the call may be told at once.
            self._settled.append((future, (RAISED, Timeout(seconds))))
            self._withdraw(future)
        self._settle()

    def _withdraw(self, future: CallFuture) -> None:
        """
        Have *future* run no more; items that share its launch go on.
        """
        for pair in self._batcher.waiting:
            if pair[1] is future:
                self._batcher.waiting.remove(pair)
                return
        self._unwanted.add(future)
        for batch in list(self._batcher.running):
            if future in batch.tags[batch.done : batch.end]:
                self._cancel_alone(batch)

    def _deliver(self, tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        self._settled.extend(zip(tags, outcomes, strict=True))

    def _settle(self) -> None:
        """
        Give futures their outcomes, outside the lock: callbacks may submit.
        """
        with self._lock:
            settled, self._settled = self._settled, []
            for future, _ in settled:
                self._unwanted.discard(future)
        for future, (kind, value) in settled:
            self._forget_timer(future)
            if future.done():
                continue
            if kind == RAISED:
                future.set_exception(value)
            else:
                future.set_result(value)

    @staticmethod
    def _forget_timer(future: CallFuture) -> None:
        if future._timer is not None:
            from fal_core.sinks.event_thread import get_reader

            get_reader().forget(future._timer)
