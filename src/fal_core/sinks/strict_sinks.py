"""
Strict sinks: every event of a host is checked against the contract.

The conformance suite checks so, and programs do where ``FAL_CORE_STRICT`` is set.
"""

from __future__ import annotations

import threading
from typing import Any, get_args

from fal_core.calls import Call
from fal_core.conversion import structure
from fal_core.conversion.annotations import option_types
from fal_core.errors import OptionTypeError, PluginError
from fal_core.events import Event, Exited, Outcome, Sealed, Sink, State
from fal_core.hosts import Execution, Host
from fal_core.sinks import breaches
from fal_core.sinks.event_thread import Timer, get_event_thread
from fal_core.sinks.requests import try_cancel
from fal_core.sinks.sinks_around import SinkAround

_EVENTS = get_args(Event)


class StrictSink(SinkAround):
    """
    A sink around a sink that takes only what the contract allows.

    The first breach ends the call, with the error that names it; what follows is dropped.
    As ever, an event after the last one is logged.
    """

    def __init__(self, host: str, sink: Sink) -> None:
        super().__init__(sink)
        self._host = host
        self._has_ended = False
        self._taking: int | None = None
        self._timer: Timer | None = None

    def __call__(self, event: Event) -> None:
        if self.failure is not None:
            return
        if self._has_ended:
            breaches.log_breach(self._host, breaches.after_the_end(event))
            return
        thread, other = threading.get_ident(), self._taking
        problem = self._find_breach(event)
        if other is not None and other != thread:
            problem = (
                f"it sent {type(event).__name__} on a thread of its own while another event "
                "was taken. Send the events of a call one at a time, as with a lock."
            )
        if problem is not None:
            self._break_off(problem, event)
            return
        self._taking = thread
        try:
            super().__call__(event)
        finally:
            self._taking = other

    @property
    def host_name(self) -> str:
        return self._host

    def on_outcome(self, outcome: Outcome) -> None:
        # Kept until the end has come: a breach takes its place.
        self.outcome = outcome
        self._timer = get_event_thread().after(breaches.PATIENCE, self._miss_end)

    def on_exited(self, exited: Exited) -> None:
        if self.outcome is not None:
            self.sink(self.outcome)
        self._finish(exited)

    def _find_breach(self, event: Any) -> str | None:
        kind = type(event)
        if kind not in _EVENTS:
            return breaches.no_event(event)
        if kind is Exited:
            return self._find_breach_of_end(event)
        if self.outcome is not None:
            if kind is Outcome:
                return breaches.SECOND_OUTCOME
            if kind is not State:
                return (
                    f"it sent {kind.__name__} after the Outcome of its call. Send all that a "
                    "function prints and yields before it."
                )
        if kind is Outcome and type(event.sealed) is not Sealed:
            return breaches.no_outcome(event.sealed)
        return _find_wrong_field(event)

    def _find_breach_of_end(self, exited: Exited) -> str | None:
        problem = None
        if exited.reason is None:
            problem = breaches.NO_END if self.outcome is None else None
        elif self.outcome is not None:
            problem = (
                f"its Exited has the reason {exited.reason!r} after an Outcome. Give a reason "
                "only where there is no outcome."
            )
        return breaches.wrong_reason(exited.reason) or problem or _find_wrong_field(exited)

    def _break_off(self, problem: str, event: object = None) -> None:
        cause = event.reason if isinstance(event, Exited) else None
        error = breaches.breach_of(self._host, problem, cause)
        # In this order: follow() looks for it once the execution is known.
        self.failure: PluginError | None = error
        if self.execution is not None:
            try_cancel(self._host, self.execution, 0)
        self._finish(Exited(reason=error))

    def _miss_end(self) -> None:
        if not self._has_ended:
            self._break_off(breaches.NO_EXITED)

    def _finish(self, exited: Exited) -> None:
        self._has_ended = True
        if self._timer is not None:
            get_event_thread().forget(self._timer)
        # The execution refers to its sink: this ends the cycle.
        self.execution: Execution | None = None
        self.outcome: Outcome | None = None
        self.sink(exited)


def launch_strictly(host: Host[..., Any], name: str, call: Call, sink: Sink) -> Execution:
    """
    Launch *call* on *host*, and check what it returns and every event that it sends.

    Arguments:
        name: The name of the host, for messages.

    Raises:
        PluginError: It returns no execution.
    """
    strict = StrictSink(name, sink)
    execution = host.launch(call, strict.for_host())
    breaches.check_execution(name, execution)
    if not strict._has_ended:
        strict.follow(execution)
    elif strict.failure is not None:
        try_cancel(name, execution, 0)
    return execution


def _find_wrong_field(event: Any) -> str | None:
    kind = type(event)
    for field, annotation in option_types(kind).items():
        try:
            structure(getattr(event, field), annotation, f"{kind.__name__}.{field}")
        except OptionTypeError as error:
            return f"it sent a wrong {kind.__name__}. {str(error).removeprefix('Option ')}"
    return None
