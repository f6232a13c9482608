"""
Sinks that give each event of a call to the handler of its kind.

A handler may raise, as printing does when a disk is full. Hosts deliver events on threads
of their own, where nobody would notice. So what a handler raises ends the call, and is
raised where the call is waited for. So does an event that a host must not send.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core.errors import EnvironmentBuildError, HostError, WorkerLost
from fal_core.events import (
    Event,
    Exited,
    HomeCall,
    Item,
    Log,
    Outcome,
    Ready,
    Returned,
    Started,
    State,
)
from fal_core.facts import copy_error, facts
from fal_core.hosts import Execution
from fal_core.reprs import in_one_line
from fal_core.sinks.missing_ends import expect_end, note_end
from fal_core.sinks.requests import try_cancel

if TYPE_CHECKING:
    from fal_core.sealing.opener import Opener

# Classes whose objects are executions.
_executions: set[type] = set()

#: Seconds that a call has to end of its own accord once a handler of its events has raised.
GRACE = 2.0


@facts
class HandlerFailed(HostError):
    """
    A handler of the call's events has raised, and the call was ended.

    Attributes:
        detail: The class and the message of what it raised.

        error: What it raised; None in another process.
    """

    detail: str
    error: BaseException | None = None

    def __str__(self) -> str:
        return f"The call was ended because a handler of its events raised {self.detail}."


@facts
class LaunchFailed(HandlerFailed):
    """The call was not launched, as its host has refused it with an error of another kind."""

    def __str__(self) -> str:
        return f"The call was not launched: {self.detail}"


class CallSink:
    """
    The sink of one call. A subclass overrides the handlers of the events that it needs.

    By default the outcome and the end are kept, and all other events are ignored. Once a
    handler has raised, only ``Exited`` is handled, with :class:`HandlerFailed` as its
    reason. An event that breaks the contract ends the call at once, with the
    :class:`~fal_core.errors.PluginError` that says so.

    Attributes:
        execution: The call, once :meth:`follow` was called.

        outcome: The outcome, unless a handler has raised.

        exited: The end of the call.

        failure: What a handler has raised.

        given_up: Whether its host has sent no end, and the call is taken as ended.
    """

    given_up: bool = False
    execution: Execution | None = None
    outcome: Outcome | None = None
    exited: Exited | None = None
    failure: BaseException | None = None

    def __call__(self, event: Event) -> None:
        kind: Any = type(event)
        handled: Any = event
        if self.exited is not None:
            self.on_late(event)
            return
        if kind is Exited:
            if not (handled.reason is None or isinstance(handled.reason, HostError)):
                self.break_off(handled)
                return
            self.on_exited(handled if self.failure is None else failed(self.failure))
            return
        if self.failure is not None:
            return
        try:
            if kind is State:
                self.on_state(handled)
            elif kind is Outcome:
                if self.outcome is not None or not hasattr(handled.sealed, "buffers"):
                    self.break_off(handled)
                    return
                self.on_outcome(handled)
            elif kind is Log:
                self.on_log(handled)
            elif kind is Item:
                self.on_item(handled)
            elif kind is Started:
                self.on_started(handled)
            elif kind is Returned:
                self.on_returned(handled)
            elif kind is Ready:
                self.on_ready(handled)
            elif kind is HomeCall:
                self.on_home_call(handled)
            else:
                self.break_off(handled)
        except KeyboardInterrupt:
            # It is for the thread that waits for the call, and delivers its events meanwhile.
            raise
        except BaseException as error:
            self.fail(error)

    def follow(self, execution: Execution) -> None:
        """
        Learn which execution the events come from; some may have come before.

        Raises:
            PluginError: It is none.
        """
        self.check_execution(execution)
        self.execution = execution
        if self.failure is not None:
            self._cancel(execution)

    def check_execution(self, execution: Execution) -> None:
        """
        Check what a host has returned for its execution.

        Raises:
            PluginError: It is none.
        """
        if type(execution) not in _executions:
            from fal_core.sinks.breaches import check_execution

            check_execution(self.host_name, execution)
            _executions.add(type(execution))

    def fail(self, error: BaseException) -> None:
        """End the call, as a handler has raised *error*."""
        # In this order: a thread that calls follow() meanwhile looks for a failure.
        self.failure = error
        self.outcome = None
        if self.execution is not None:
            self._cancel(self.execution)

    def break_off(self, event: Any) -> None:
        """End the call, as its host must not send *event*, or has not sent it so."""
        from fal_core.sinks.breaches import breach_of_event

        self.end_with(breach_of_event(self.host_name, event, self.outcome))

    def end_with(self, error: HostError) -> None:
        """End the call with *error*, and take no more of its events."""
        self.failure, self.outcome = error, None
        if self.execution is not None:
            try_cancel(self.host_name, self.execution, GRACE)
        if self.exited is None:
            self.on_exited(Exited(reason=error))

    def _cancel(self, execution: Execution) -> None:
        # Of a call that cannot be ended no end may ever come.
        if not try_cancel(self.host_name, execution, GRACE) and self.failure and not self.ended:
            self.on_exited(failed(self.failure))

    def give_up(self) -> None:
        """
        Take the call as ended, as its host has sent an outcome long ago, and no end.

        The outcome is used, and what the host has left out is logged.
        """
        if not self.ended:
            from fal_core.sinks.breaches import NO_EXITED, log_breach

            log_breach(self.host_name, NO_EXITED)
            self.given_up = True
            self.on_exited(Exited() if self.failure is None else failed(self.failure))

    def on_late(self, event: Any) -> None:
        """Log that an event has come after the last one, unless the call was ended here."""
        if self.failure is None and not self.given_up:
            from fal_core.sinks.breaches import after_the_end, log_breach

            log_breach(self.host_name, after_the_end(event))

    @property
    def host_name(self) -> str:
        """The name of the host that sends the events."""
        return ""

    @property
    def ended(self) -> bool:
        """Whether the call has ended."""
        return self.exited is not None

    # -- handlers ------------------------------------------------------------------

    def on_state(self, state: State) -> None:
        """Handle the phase that the call has entered."""

    def on_log(self, log: Log) -> None:
        """Handle a line of output."""
        self.on_other(log)

    def on_item(self, item: Item) -> None:
        """Handle what a generator has yielded, or the outcomes of a batch."""
        self.on_other(item)

    def on_started(self, started: Started) -> None:
        """Handle the start of items of a batch."""
        self.on_other(started)

    def on_returned(self, returned: Returned) -> None:
        """Handle items of a batch that were handed back."""
        self.on_other(returned)

    def on_ready(self, ready: Ready) -> None:
        """Handle the urls of a service."""
        self.on_other(ready)

    def on_home_call(self, call: HomeCall) -> None:
        """Handle a call that the function makes to a function of this process."""
        self.on_other(call)

    def on_other(self, event: Event) -> None:
        """Handle an event whose own handler was not overridden; this one ignores it."""

    def on_outcome(self, outcome: Outcome) -> None:
        """Keep the outcome."""
        self.outcome = outcome

    def on_exited(self, exited: Exited) -> None:
        """Keep the end of the call; what this handler raises is not caught."""
        self.exited = exited


class OpeningSink(CallSink):
    """
    The sink of a call whose result is opened here, and whose home calls are answered.

    Arguments:
        opener: Opens what the function returned, yielded or raised.

        answer: Answers a home call, on a thread of its own.
    """

    def __init__(self, opener: Opener, answer: Callable[[HomeCall, OpeningSink], None]) -> None:
        self.opener = opener
        self._answer = answer

    @property
    def host_name(self) -> str:
        return self.opener.host

    def on_home_call(self, call: HomeCall) -> None:
        self._answer(call, self)

    def result(self) -> Any:
        """Return what the function returned, or raise what it or its host raised."""
        outcome = self.outcome
        # The execution refers to its sink: without a cycle a large outcome, and memory
        # that it shares, is freed with its last view.
        self.outcome: Outcome | None = None
        self.execution: Execution | None = None
        return open_outcome(self.opener, outcome, self.exited)


class UnattendedSink(OpeningSink):
    """
    The sink of a call for whose end no thread waits. It gives a call up that has an outcome
    and does not end.
    """

    def on_outcome(self, outcome: Outcome) -> None:
        self.outcome: Outcome | None = outcome
        expect_end(self)

    def on_exited(self, exited: Exited) -> None:
        note_end(self)
        self.exited: Exited | None = exited


def open_outcome(opener: Opener, outcome: Outcome | None, exited: Exited | None) -> Any:
    """Return what the function returned, or raise what it or its host raised."""
    if outcome is None:
        if exited is not None and exited.reason is None:
            from fal_core.sinks.breaches import NO_END, breach_of

            raise breach_of(opener.host, NO_END)
        raise error_of(exited, opener.name)
    if outcome.raised:
        raise opener.open_error(outcome.sealed)
    return opener.open_value(outcome.sealed)


def failed(error: BaseException) -> Exited:
    """Return the end of a call whose handler has raised *error*."""
    reason = HandlerFailed(f"{type(error).__name__}: {in_one_line(error)}", error)
    reason.__cause__ = error
    return Exited(reason=reason)


def error_of(exited: Exited | None, name: str = "") -> BaseException:
    """
    Return the error to raise for a call of the function *name* that has ended without an
    outcome.
    """
    reason = None if exited is None else exited.reason
    if isinstance(reason, HandlerFailed) and isinstance(reason.error, Exception):
        return reason.error
    if isinstance(reason, EnvironmentBuildError):
        return _needed_by(name, reason)
    return reason or WorkerLost()


def _needed_by(name: str, error: EnvironmentBuildError) -> EnvironmentBuildError:
    """Return *error* as that of the function *name*: others may need the environment, too."""
    told = copy_error(error)
    if not told.function:
        told.function = name
    return told
