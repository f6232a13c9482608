"""The calls of an executor, in the order in which they were submitted."""

from __future__ import annotations

import logging
import threading
from concurrent.futures import BrokenExecutor
from itertools import islice
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batcher
from fal_core.batching.futures import Submitter
from fal_core.calling.call_futures import AnsweredFuture, callback_thread
from fal_core.calling.launcher import Launcher
from fal_core.sinks.requests import try_cancel
from fal_core_worker.opening.exceptions import RemoteTraceback
from fal_core_worker.running.pooled import InitializerFailed

if TYPE_CHECKING:
    from fal_core.calling.deadlines import Deadline

BROKEN = "The initializer of the executor failed, so that it runs no more calls."

_logger = logging.getLogger("concurrent.futures")


class Future(AnsweredFuture):
    """
    The future of a call of an executor, which runs from when it is sent to a worker. It is
    shown by its class's name, as those of the standard library are.

    Attributes:
        calls: The calls that it belongs to.

        launcher: Seals and launches the call.

        wanted: False once it was cancelled, or its time is up.

        taken: Whether it was taken out of the queue, to be sent or because it is cancelled.
    """

    calls: PooledCalls | None = None
    launcher: Launcher | None = None
    deadline: Deadline | None = None
    wanted = True
    taken = False

    def cancel(self) -> bool:
        """Take the call out of the queue; return False if it runs or has ended."""
        if not super().cancel():
            return False
        if self.calls is not None:
            self.calls.withdraw(self)
        return True

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Take the answer of the call: *value*, or *error*."""
        calls = self.calls
        if isinstance(error, InitializerFailed) and calls is not None:
            cause = _raised_by_initializer(error)
            error = BrokenExecutor(BROKEN)
            error.__cause__ = cause
            calls.break_off(cause)
        super().settle(value, error)
        # What it was called with is not needed any more.
        self.launcher = None
        if calls is not None:
            calls.forget(self)


def _raised_by_initializer(error: InitializerFailed) -> BaseException:
    cause: BaseException | None = error.__cause__
    # Between them stands where the worker has told of it, which is no place of the user's.
    while isinstance(cause, RemoteTraceback):
        cause = cause.__cause__
    return cause or error


class PooledBatcher(Batcher):
    """Batches of calls of several functions. The calls of one batch have their function in common."""

    def launcher_of(self, tag: Future) -> Launcher:
        return tag.launcher or self.launcher

    def count_apart(self, count: int) -> int:
        launcher = self.waiting[0][1].launcher
        for number, (_, future) in enumerate(islice(self.waiting, count)):
            if future.launcher is not launcher:
                count = number
                break
        return count if count == 1 else super().count_apart(count)


class PooledCalls(Submitter):
    """
    The calls of one executor.

    Arguments:
        launcher: Of the first of them: all have the same host, and the same options.

        most: How many are sent to the host at once. None where the host knows how many
            workers there may be; it is sent some more, which wait at the worker.

    Attributes:
        futures: Those of calls that have not ended.

        broken: Whether the initializer failed.
    """

    # Programs that are written for an executor expect it to wait without a word.
    is_quiet = True

    def __init__(self, launcher: Launcher, *, most: int | None) -> None:
        self._most = most
        self.broken: bool = False
        super().__init__(launcher)

    def abandon(self) -> None:
        """Begin without calls, in a forked child: those there are belong to the parent."""
        super().abandon()
        self.futures: set[Future] = set()
        self._ended = threading.Condition()

    def _make_batcher(self, launcher: Launcher) -> Batcher:
        batcher = PooledBatcher(launcher, self._take, self._deliver, is_wanted=self._start)
        if self._most is not None:
            batcher.limit = self._most
        return batcher

    def count(self) -> int:
        """Return how many calls have not ended."""
        return len(self.futures)

    def cancel(self) -> None:
        """End all calls, those that run too: the program ends."""
        self.cancel_waiting()
        with self._lock:
            batches = list(self._batcher.running)
        for batch in batches:
            if batch.execution is not None:
                try_cancel(batch.launcher.opener.host, batch.execution, self.grace)

    def cancel_waiting(self) -> None:
        """Cancel the calls that were not sent to a worker yet."""
        with self._lock:
            futures = [future for _, future in self._batcher.waiting]
        for future in futures:
            future.cancel()

    def queue(
        self, launcher: Launcher, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Future:
        """Queue a call, and launch it if the host can take another."""
        future = Future()
        future.calls, future.launcher = self, launcher
        self.futures.add(future)
        try:
            self.enqueue(future, args, kwargs)
        except BaseException:
            self.forget(future)
            raise
        return future

    def withdraw(self, future: Any) -> None:
        """Take *future*, which is cancelled, out of the queue."""
        self._stop_deadline(future)
        with self._lock:
            if not future.taken:
                self._start(future)
                self._withdraw(future)
        self._settle()

    def wait(self) -> None:
        """Wait until all calls have ended, and the callbacks of their futures."""
        with self._ended:
            self._ended.wait_for(lambda: not self.futures)
        callback_thread.wait()

    def forget(self, future: Future) -> None:
        """Wait for *future* no longer: its call has ended, and its callbacks have been called."""
        self.futures.discard(future)
        if not self.futures:
            with self._ended:
                self._ended.notify_all()

    def break_off(self, cause: BaseException) -> None:
        """End the calls that wait: the initializer raised *cause*, and will do so again."""
        with self._lock:
            if self.broken:
                return
            self.broken = True
            futures = [each for _, each in self._batcher.waiting if not each.done()]
            self._batcher.waiting.clear()
        _logger.critical("Exception in initializer:", exc_info=cause)
        for future in futures:
            if self._start(future):
                self._stop_deadline(future)
                error = BrokenExecutor(BROKEN)
                error.__cause__ = cause
                future.settle(None, error)

    def _start(self, future: Future) -> bool:
        """Take *future* out of the queue; tell whether its call is to be sent."""
        if future.taken or not future.wanted:
            return future.wanted
        with self._lock:
            if not future.taken:
                future.taken = True
                future.wanted = future.set_running_or_notify_cancel()
                if not future.wanted:
                    self.forget(future)
        return future.wanted

    def _withdraw(self, future: Any) -> None:
        future.wanted = False
        for batch in list(self._batcher.running):
            self._cancel_alone(batch)
        # What it was called with is freed once this costs no more than the withdrawals.
        self._withdrawn += 1
        waiting = self._batcher.waiting
        if 2 * self._withdrawn >= len(waiting):
            self._withdrawn = 0
            kept = [pair for pair in waiting if pair[1].wanted]
            waiting.clear()
            waiting.extend(kept)
