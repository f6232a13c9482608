"""
``submit``: calls whose results are futures.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batch, Batcher, Handler, ItemOutcome
from fal_core.calling.launcher import Launcher
from fal_core.events import Event, Exited, Item, Returned
from fal_core_worker.stream.frames import RAISED

if TYPE_CHECKING:
    from fal_core.calling.deadlines import Deadline


class CallFuture(Future[Any]):
    """
    The future of a call. Unlike that of a thread it can be cancelled while it runs.
    """

    _submitter: Submitter | None = None
    _deadline: Deadline | None = None

    def cancel(self) -> bool:
        """
        Cancel the call, or end it if it runs.
        """
        submitter = self._submitter
        if submitter is None or self.done():
            return super().cancel()
        return submitter.cancel(self)


class Submitter:
    """
    Makes the calls of one launcher that are submitted.
    """

    def __init__(self, launcher: Launcher) -> None:
        self._lock = threading.RLock()
        self._settled: list[tuple[CallFuture, ItemOutcome]] = []
        self._unwanted: set[CallFuture] = set()
        self._batcher = Batcher(launcher, self._take, self._deliver)
        self._launcher = launcher

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> CallFuture:
        """
        Queue a call, and launch it if the host can take another.
        """
        future = CallFuture()
        future._submitter = self
        batcher = self._batcher
        with self._lock:
            seconds = self._launcher.policy.timeout
            if seconds is not None:
                from fal_core.calling.deadlines import Deadline

                future._deadline = Deadline(seconds, partial(self._time_out, future))
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
        self._stop_deadline(future)
        Future.cancel(future)
        return True

    def _cancel_alone(self, batch: Batch) -> None:
        """
        End *batch* if none of its remaining items is wanted.
        """
        left = batch.tags[batch.done : batch.end]
        if left and batch.execution is not None and self._unwanted.issuperset(left):
            batch.execution.cancel(self._launcher.policy.grace)

    def _take(self, handler: Handler, batch: Batch, event: Event) -> None:
        with self._lock:
            handler(batch, event)
            kind = type(event)
            if kind is Exited or kind is Returned:
                self._batcher.launch_waiting()
            if self._unwanted and (kind is Returned or kind is Item):
                self._cancel_alone(batch)
        self._settle()

    def _time_out(self, future: CallFuture) -> None:
        """
        End the call of *future*, or take it out of the queue, as its time is up.
        """
        with self._lock:
            if future.done() or future._deadline is None:
                return
            # First of all: the end of the call may come at once.
            self._settled.append((future, (RAISED, future._deadline.error())))
            self._withdraw(future)
        self._settle()

    def _withdraw(self, future: CallFuture) -> None:
        """
        End the call of *future*, but not other items of its launch.
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
        Give futures their outcomes, without the lock: callbacks may submit.
        """
        with self._lock:
            settled, self._settled = self._settled, []
            for future, _ in settled:
                self._unwanted.discard(future)
        for future, (kind, value) in settled:
            self._stop_deadline(future)
            if future.done():
                continue
            if kind == RAISED:
                future.set_exception(value)
            else:
                future.set_result(value)

    @staticmethod
    def _stop_deadline(future: CallFuture) -> None:
        if future._deadline is not None:
            future._deadline.stop()
