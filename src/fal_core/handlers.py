"""
Handlers of events that may raise, as printing does where a disk is full.

Hosts tell events on threads of their own, where nobody would hear of it. What a
handler raises ends the call, and is raised where the call is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fal_core.errors import HostError, WorkerLost, in_one_line
from fal_core.events import Event, Exited
from fal_core.facts import facts

#: Seconds that a call has to end, of whose events nobody wants to hear any more.
GRACE = 2.0


@facts
class HandlerFailed(HostError):
    """
    A handler of the call's events has raised, and the call was ended.

    Attributes:
        detail: What it raised, as its class and its sentence.

        error: What it raised; None in another process.
    """

    detail: str
    error: Exception | None = None

    def __str__(self) -> str:
        return f"The call was ended, for a handler of its events raised {self.detail}."


def handle(sink: Any, handler: Callable[[Any], object], event: Event) -> None:
    """
    Give *event* to *handler*; if that raises, *sink* has failed, and its call is ended.

    Of a sink that has failed nothing more is handled.

    Arguments:
        sink: Has ``failure``, None or what was raised, and ``execution``.
    """
    if sink.failure is not None:
        return
    try:
        handler(event)
    except Exception as error:
        fail(sink, error)


def fail(sink: Any, error: Exception) -> None:
    """
    End the call of *sink*, for *error* was raised where its events are handled.
    """
    # In this order: who learns of the execution meanwhile looks for a failure.
    sink.failure = error
    if sink.execution is not None:
        sink.execution.cancel(GRACE)


def follow(sink: Any, execution: Any) -> None:
    """
    Have *sink* learn of its execution, which is ended if *sink* has failed before.
    """
    sink.execution = execution
    if sink.failure is not None:
        execution.cancel(GRACE)


def failed(error: Exception) -> Exited:
    """
    Return the end of a call whose handler raised *error*.
    """
    reason = HandlerFailed(f"{type(error).__name__}: {in_one_line(error)}", error)
    reason.__cause__ = error
    return Exited(reason=reason)


def error_of(exited: Exited | None) -> BaseException:
    """
    Return what to raise for a call that has ended without an outcome.
    """
    reason = None if exited is None else exited.reason
    if isinstance(reason, HandlerFailed) and reason.error is not None:
        return reason.error
    return reason or WorkerLost()
