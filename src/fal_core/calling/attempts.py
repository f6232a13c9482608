"""Attempts: making a call again after its host has failed."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from fal_core.abilities import Driven
from fal_core.calling.late_executions import LateExecution
from fal_core.calls import Call
from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    HostError,
    PluginError,
    Timeout,
    UserFunctionException,
)
from fal_core.events import Event, Exited, Item, Outcome, Ready, Sealed, Sink
from fal_core.hosts import Execution
from fal_core.sinks.call_sinks import HandlerFailed
from fal_core.sinks.missing_ends import expect_end, note_end
from fal_core.sinks.sinks_around import SinkAround

#: Seconds between two looks at whether an attempt can still end.
_LOOK = 1.0

#: What starts a call, as the ``launch`` of a host does.
Launch = Callable[[Call, Sink], Execution]

#: Errors of hosts after which a call is not made again.
_FINAL = (Cancelled, EnvironmentBuildError, HandlerFailed, PluginError, Timeout)


class Retries:
    """
    How often one call, or one item of a batch, may be made again.

    Arguments:
        left: How often.

        retry_on: Exceptions of the function after which it is.
    """

    __slots__ = ("_left", "_retry_on")

    def __init__(self, left: int, retry_on: tuple[type[Exception], ...] = ()) -> None:
        self._left = left
        self._retry_on = retry_on

    def heed_raised(self) -> bool:
        """Tell whether it matters what the function has raised."""
        return bool(self._left and self._retry_on)

    def allow(self, error: BaseException | None) -> bool:
        """Tell whether the call may be made again after *error*."""
        if isinstance(error, HostError):
            # That of a node is the cause of the error of its call.
            is_final = isinstance(error, _FINAL) or isinstance(error.__cause__, _FINAL)
            return self._left > 0 and not is_final
        if isinstance(error, UserFunctionException) and isinstance(
            error.__cause__, self._retry_on
        ):
            return self._left > 0
        return self._left > 0 and isinstance(error, self._retry_on)

    def take(self, error: BaseException | None) -> bool:
        """Take one attempt, if the call may be made again after *error*."""
        if not self.allow(error):
            return False
        self._left -= 1
        return True


class Attempts(LateExecution):
    """
    The execution of a call that is made again when its host fails.

    Its inner execution is that of the current attempt. Once the sink has been given an
    item, a url or a result there are no more attempts: those cannot be taken back.

    Arguments:
        launch: Starts an attempt.

        renew: Returns the call of the next attempt.

        open_error: Opens what the function raised, for *retries* to look at it.
    """

    def __init__(
        self,
        launch: Launch,
        call: Call,
        sink: Sink,
        retries: Retries,
        *,
        renew: Callable[[Call], Call] = lambda call: call,
        open_error: Callable[[Sealed], BaseException] | None = None,
    ) -> None:
        super().__init__(call.id)
        self.retries = retries
        self.open_error = open_error
        self.has_results = False
        self._launch = launch
        self._call = call
        self._sink = sink
        self._renew = renew
        self._attempt: _Attempt | None = None

    def begin(self) -> None:
        """Launch the call, as often as that fails and may be tried again."""
        while True:
            attempt = self._attempt = _Attempt(self, self._sink)
            try:
                attempt.follow(self._launch(self._call, attempt.for_host()))
            except Exception as error:
                attempt.over.set()
                if self.cancelled or not self.retries.take(error):
                    raise
                self._call = self._renew(self._call)
                continue
            finally:
                attempt.launched.set()
            # An attempt that has failed within its launch was followed by another one.
            if attempt is self._attempt:
                self.settle(attempt.execution)
            return

    def begin_again(self, error: BaseException | None) -> bool:
        """Begin another attempt, if the one that has ended with *error* may be followed by one."""
        if self.has_results or self.cancelled or not self.retries.take(error):
            self._attempt = None
            return False
        self._call = self._renew(self._call)
        try:
            self.begin()
        except Exception:
            # The host takes no calls any more. The error that is reported is the first one.
            self._attempt = None
            return False
        return True

    def drive(self, timeout: float | None) -> None:
        until = None if timeout is None else time.monotonic() + timeout
        while (attempt := self._attempt) is not None:
            if not attempt.launched.wait(_left(until)):
                return
            if isinstance(attempt.execution, Driven):
                attempt.execution.drive(_left(until))
            # Another thread may deliver the events of this attempt, and not of the next one.
            while not attempt.over.wait(_next_look(until)):
                is_undriven = attempt.left_to_driver and not self.drives
                # The driver ends a call whose events nobody delivers.
                if is_undriven or attempt.ended or _left(until) == 0.0:
                    return


class _Flag:
    """An event for one thread that waits, which costs next to nothing if none does."""

    __slots__ = ("_event", "_is_set")

    def __init__(self) -> None:
        self._is_set = False
        self._event: threading.Event | None = None

    def set(self) -> None:
        # In this order: the other thread makes its event, and then looks.
        self._is_set = True
        if self._event is not None:
            self._event.set()

    def wait(self, timeout: float | None) -> bool:
        if not self._is_set:
            self._event = threading.Event()
            if not self._is_set:
                self._event.wait(timeout)
        return self._is_set


class _Attempt(SinkAround):
    """The sink of one attempt: passes on what does not lead to another one."""

    def __init__(self, attempts: Attempts, sink: Sink) -> None:
        super().__init__(sink)
        #: Set when its launch has returned, or raised.
        self.launched = _Flag()
        #: Set when it has ended, and the next one was begun if there is to be one.
        self.over = _Flag()
        self._attempts = attempts
        self._raised: BaseException | None = None

    def on_item(self, item: Item) -> None:
        self._pass_result(item)

    def on_ready(self, ready: Ready) -> None:
        self._pass_result(ready)

    def on_outcome(self, outcome: Outcome) -> None:
        # The thread that drives the attempts waits here for its end.
        expect_end(self)
        retries, open_error = self._attempts.retries, self._attempts.open_error
        if outcome.raised and open_error is not None and retries.heed_raised():
            error = open_error(outcome.sealed)
            if retries.allow(error) and not self._attempts.has_results:
                # Kept until the attempt has ended, and then dropped if another one begins.
                self.outcome, self._raised = outcome, error
                return
        self._pass_result(outcome)

    def _pass_result(self, event: Event) -> None:
        self._attempts.has_results = True
        self.sink(event)

    def on_exited(self, exited: Exited) -> None:
        note_end(self)
        try:
            if self._attempts.begin_again(self._raised or exited.reason):
                return
            if self.outcome is not None:
                self.sink(self.outcome)
            self.sink(exited)
        finally:
            self.over.set()
            # In this order: drive() leaves an attempt that has ended and is not over.
            self.exited = exited


def with_attempts(
    launch: Launch,
    retries: int,
    *,
    retry_on: tuple[type[Exception], ...] = (),
    renew: Callable[[Call], Call] = lambda call: call,
    open_error: Callable[[Sealed], BaseException] | None = None,
) -> Launch:
    """
    Return *launch* for calls that are made again up to *retries* times.

    Arguments:
        retry_on: Exceptions of the function after which a call is made again, too.

        renew: Returns the call of the next attempt; the same one by default.

        open_error: Opens what the function raised. It is needed for *retry_on*.
    """

    def launch_attempts(call: Call, sink: Sink) -> Execution:
        attempts = Attempts(
            launch,
            call,
            sink,
            Retries(retries, retry_on),
            renew=renew,
            open_error=open_error,
        )
        attempts.begin()
        return attempts

    return launch_attempts


def _next_look(until: float | None) -> float:
    left = _left(until)
    return _LOOK if left is None else min(left, _LOOK)


def _left(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())
