"""
``submit``: calls whose results are futures.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from functools import partial
from typing import TYPE_CHECKING, Any

from fal_core.batches import Batch, Batcher
from fal_core.errors import Timeout
from fal_core.events import Event, Exited, Item, Returned
from fal_core.outcomes import ItemOutcome
from fal_core_worker.slots import RAISED

if TYPE_CHECKING:
    from fal_core.launches import Launcher


class CallFuture(Future[Any]):
    """
    The future of a call. Unlike a thread's it can be cancelled while it runs.
    """

    _submitter: Submitter | None = None

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
            batcher.waiting.append(((args, kwargs), future))
            if len(batcher.running) < batcher.limit:
                before = set(batcher.running)
                batcher.launch_waiting()
                self._limit_time(before)
        if self._settled:
            self._settle()
        return future

    def cancel(self, future: CallFuture) -> bool:
        """
        Take *future* out of the queue, or end its call.
        """
        with self._lock:
            for pair in self._batcher.waiting:
                if pair[1] is future:
                    self._batcher.waiting.remove(pair)
                    return Future.cancel(future)
            if future.done():
                return future.cancelled()
            self._unwanted.add(future)
            for batch in list(self._batcher.running):
                if future in batch.tags[batch.done : batch.end]:
                    self._cancel_alone(batch)
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
                before = set(self._batcher.running) if self._launcher.policy.timeout else set()
                self._batcher.launch_waiting()
                self._limit_time(before)
            if self._unwanted and (kind is Returned or kind is Item):
                self._cancel_alone(batch)
        self._settle()

    def _limit_time(self, before: set[Batch]) -> None:
        """
        End batches launched just now that take longer than they may.
        """
        seconds = self._launcher.policy.timeout
        if seconds is None:
            return
        from fal_core.readers import get_reader

        for batch in self._batcher.running - before:
            get_reader().after(seconds, partial(self._time_out, batch, seconds))

    def _time_out(self, batch: Batch, seconds: float) -> None:
        with self._lock:
            if batch not in self._batcher.running or batch.execution is None:
                return
            for tag in batch.tags[batch.done :]:
                self._settled.append((tag, (RAISED, Timeout(seconds))))
            batch.execution.cancel(self._launcher.policy.grace)
        self._settle()

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
            if future.done():
                continue
            if kind == RAISED:
                future.set_exception(value)
            else:
                future.set_result(value)
