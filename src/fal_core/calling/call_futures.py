"""Futures of calls."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from concurrent.futures import CancelledError, Future, InvalidStateError
from functools import partial
from queue import SimpleQueue
from typing import Any

from fal_core.calling.program_ends import program_end
from fal_core.errors import Cancelled
from fal_core.tracebacks.trimming import trim

Callback = Callable[[Future[Any]], object]


class CallbackThread:
    """
    A thread for the callbacks of calls whose answers have come.

    The thread that takes answers must not run them: one that waits for another call would
    wait for an answer that nobody takes. The program ends when they have all run.
    """

    grace: float = 0.0
    is_quiet = False

    def __init__(self) -> None:
        self.abandon()

    def abandon(self) -> None:
        """Begin anew in a forked child, in which the thread does not run."""
        self._lock = threading.Lock()
        self._queue: SimpleQueue[tuple[Callback, Future[Any]]] = SimpleQueue()
        self._left = 0
        self._is_started = False
        self._ident: int | None = None

    def count(self) -> int:
        """Return how many callbacks have not ended."""
        return self._left

    def cancel(self) -> None:
        """Let the program end without them."""
        with self._lock:
            self._left = 0
            program_end.release(self)

    def run(self, callback: Callback, future: Future[Any]) -> None:
        """Call *callback* with *future*, after those that came before."""
        with self._lock:
            if not self._is_started:
                threading.Thread(
                    target=self._run_all, name="fal-core callbacks", daemon=True
                ).start()
                self._is_started = True
            if not self._left:
                program_end.wait_for(self)
            self._left += 1
            self._queue.put((callback, future))

    def wait(self) -> None:
        """Wait until the callbacks there are have ended, unless one of them asks."""
        if threading.get_ident() != self._ident and self._left:
            ended = threading.Event()
            self.run(lambda _: ended.set(), Future())
            ended.wait()

    def _run_all(self) -> None:
        self._ident = threading.get_ident()
        while True:
            callback, future = self._queue.get()
            try:
                callback(future)
            except BaseException:
                # As concurrent.futures does with its own.
                _logger.exception("exception calling callback for %r", future)
            del callback, future
            with self._lock:
                self._left = max(0, self._left - 1)
                if not self._left:
                    program_end.release(self)


_logger = logging.getLogger("concurrent.futures")
callback_thread: CallbackThread = CallbackThread()
os.register_at_fork(after_in_child=callback_thread.abandon)


class AnsweredFuture(Future[Any]):
    """
    A future that is settled by the thread that takes answers.

    Callbacks run on a thread of their own once the answer has come, and may wait for other
    calls. Those that are added later, or of a future that is cancelled, run at once.
    """

    _settled_by: int | None = None

    def add_done_callback(self, fn: Callback) -> None:
        """Call *fn* with this future once the call has ended."""
        super().add_done_callback(partial(_call_back, fn))

    def settle(self, value: Any, error: BaseException | None = None) -> None:
        """Take the answer of the call: *value*, or *error*. It is dropped after a cancel."""
        self._settled_by = threading.get_ident()
        try:
            if error is None:
                self.set_result(value)
            else:
                self.set_exception(error)
        except InvalidStateError:
            pass
        finally:
            self._settled_by = None


class CallFuture(AnsweredFuture):
    """
    The future of a call. Unlike that of a thread it can be cancelled while it runs.

    Cancelling settles it at once and ends the call, whose answer is dropped if it still
    comes. A cancelled future raises :class:`~fal_core.errors.Cancelled`.
    """

    def cancel(self) -> bool:
        """Cancel the call, or end it if it runs; return False if it has ended."""
        if not super().cancel():
            return False
        # Of several threads that cancel, one goes on: this is one step.
        mark = object()
        if vars(self).setdefault("_cancelled_by", mark) is mark:
            # Without it, wait() and as_completed() do not learn of it.
            self.set_running_or_notify_cancel()
            self.end_call()
        return True

    def end_call(self) -> None:
        """End the call, whose answer nobody waits for."""

    def result(self, timeout: float | None = None) -> Any:
        """Wait for the result and return it, or raise what the function or its host raised."""
        __tracebackhide__ = True
        try:
            return super().result(timeout)
        except CancelledError as error:
            if not self.cancelled():
                raise trim(error)  # noqa: B904  # the same one
            raise Cancelled from None
        except Exception as error:
            raise trim(error)  # noqa: B904  # the same one
        finally:
            # The traceback of what is raised refers to this frame.
            del self

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end and return what :meth:`result` would raise; None for a result."""
        try:
            return super().exception(timeout)
        except CancelledError:
            raise Cancelled from None


def _call_back(callback: Callback, future: Future[Any]) -> None:
    if isinstance(future, AnsweredFuture) and future._settled_by == threading.get_ident():
        try:
            callback_thread.run(callback, future)
            return
        except RuntimeError:
            # Python is ending, or starts no more threads: better here than never.
            pass
    callback(future)
