"""Calls that wait for a worker."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable

from fal_core.abilities import Driven
from fal_core.calling import LateExecution
from fal_core.calls import Call
from fal_core.errors import Cancelled, HostError
from fal_core.events import Event, Exited, Log, Sink
from fal_core.hosts import Execution
from fal_core.sinks import SinkAround, failed
from fal_core.sinks.serial_sinks import make_serial

#: How many events are kept for a call that is expected.
_MOST_KEPT = 100


class WaitingExecution(LateExecution):
    """
    A call that waits for a worker, and is that worker's execution afterwards.

    Arguments:
        waiting: The calls that it waits with.

    Attributes:
        since: When it began to wait, in seconds of the monotonic clock.
    """

    def __init__(self, waiting: WaitingCalls, call: Call, sink: Sink) -> None:
        super().__init__(call.id)
        self.call = call
        # Events come from the thread that launches, from those that start workers, and
        # from the worker.
        self.sink: Sink = make_serial(sink)
        self.since: float = time.monotonic()
        self._waiting = waiting
        self._was_taken_back = False

    def refuse(self, reason: BaseException) -> None:
        """End the call before it has a worker."""
        self._end(Exited(reason=as_host_error(reason)))

    def take_back(self) -> bool:
        """
        Wait once more, as the worker has ended before it came up. Return False for a call that
        has waited again already, or was cancelled.
        """
        if self._was_taken_back or self.cancelled:
            return False
        self._was_taken_back = True
        with self._lock:
            self.inner: Execution | None = None
            if self._requests is None:
                self._settled: threading.Event | None = None
                self._requests: list[Callable[[Execution], None]] | None = []
        return True

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        inner: Execution | None = self
        while inner is not self.inner or self._requests is not None:
            left = None if until is None else max(0.0, until - time.monotonic())
            if not self.wait_until_settled(left):
                return
            inner = self.inner
            if isinstance(inner, Driven):
                inner.drive(left)

    def report(self, event: Event) -> None:
        """Pass *event* to the call's sink while it waits; the call ends if the sink raises."""
        try:
            self.sink(event)
        except Exception as error:
            if self._waiting.withdraw(self):
                self.fail(error)

    def fail(self, error: Exception) -> None:
        """End the call, whose sink has raised *error*."""
        self._end(failed(error))

    def cancel(self, grace: float) -> None:
        if self.inner is None and self._waiting.withdraw(self):
            self.refuse(Cancelled())
        else:
            super().cancel(grace)

    def _end(self, exited: Exited) -> None:
        self.sink(exited)
        self.settle(None)


class UnbegunSink(SinkAround):
    """
    A sink around that of a call whose worker is not up.

    Arguments:
        again: Makes the call again as it has ended, or returns False.
    """

    def __init__(self, sink: Sink, again: Callable[[], bool]) -> None:
        super().__init__(sink)
        self._again = again

    def on_exited(self, exited: Exited) -> None:
        again, self._again = self._again, bool
        # It knows the call, and that has what the function was given: nobody keeps it longer.
        if not again():
            self.sink(exited)


class WaitingCalls(deque[WaitingExecution]):
    """
    The calls of a pool that wait for a worker, the next one first.

    Arguments:
        lock: The pool's lock, which is held wherever calls are added or removed.
    """

    def __init__(self, lock: threading.Lock) -> None:
        super().__init__()
        self._lock = lock
        # What was told while a call was expected. None where none is.
        self._kept: deque[Event] | None = None
        self._failure: BaseException | None = None

    def expect(self, *, expected: bool) -> None:
        """Keep what is told for the next call from now on, or do not any more."""
        with self._lock:
            kept, self._kept = self._kept, deque(maxlen=_MOST_KEPT) if expected else None
            self._failure = None
        for event in kept or ():
            self.tell(event)

    def keep_failure(self, reason: BaseException) -> None:
        """Keep *reason* for a call that is expected: no worker can be started for it."""
        with self._lock:
            if self._kept is not None:
                self._failure = reason

    def add(self, execution: WaitingExecution) -> bool:
        """
        Tell a call that waits what was told while it was expected. Return False if it has
        ended, as its worker could not be started.
        """
        with self._lock:
            kept, self._kept = self._kept, None
            failure, self._failure = self._failure, None
        for event in kept or ():
            execution.report(event)
        if failure is None or not self.withdraw(execution):
            return True
        execution.refuse(failure)
        return False

    def pass_on(self, execution: WaitingExecution) -> bool:
        """
        Tell a call that has a worker at once what was told while it was expected. Return False
        if it has ended, as its sink has raised.
        """
        with self._lock:
            kept, self._kept = self._kept, None
        try:
            for event in kept or ():
                execution.sink(event)
        except Exception as error:
            execution.fail(error)
            return False
        return True

    def take_all(self) -> list[WaitingExecution]:
        """Remove all calls and return them; under the lock."""
        waiting = list(self)
        self.clear()
        return waiting

    def withdraw(self, execution: WaitingExecution) -> bool:
        """Remove a call; return False if it no longer waits."""
        with self._lock:
            try:
                self.remove(execution)
            except ValueError:
                return False
        return True

    @property
    def first_call(self) -> Call | None:
        """The call that has waited for longest."""
        with self._lock:
            return self[0].call if self else None

    def tell(self, event: Event, most: int | None = None) -> None:
        """
        Pass *event* to each call, or to the first *most*. If none waits it is kept for one
        that is expected, or a line is printed.
        """
        if self.report(event, most):
            return
        with self._lock:
            if self._kept is not None:
                self._kept.append(event)
                return
        if isinstance(event, Log):
            # Most workers start without a line.
            from fal_core.sinks import print_log

            print_log(event)

    def report(self, event: Event, most: int | None = None) -> bool:
        """Pass *event* to each call, or to the first *most*; return False if none waits."""
        with self._lock:
            waiting = list(self)[:most]
        for execution in waiting:
            execution.report(event)
        return bool(waiting)


def as_host_error(error: BaseException) -> HostError:
    """Return *error* as a :class:`HostError` with its message."""
    if isinstance(error, HostError):
        return error
    failed = HostError(f"The worker could not be started. {type(error).__name__}: {error}")
    failed.__cause__ = error
    return failed
