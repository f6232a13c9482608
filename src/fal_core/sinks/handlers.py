"""
Handlers of events that may raise, as printing does where a disk is full.

Hosts tell events on threads of their own, where nobody would hear of it. What a
handler raises ends the call, and is raised where the call is waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core.errors import HostError, WorkerLost
from fal_core.events import Event, Exited
from fal_core.facts import facts
from fal_core.reprs import in_one_line

if TYPE_CHECKING:
    from fal_core.hosts import Execution

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


class HandlingSink:
    """
    A sink whose call is ended when a handler of its events raises.

    Attributes:
        execution: The call, once the sink has learned of it.

        failure: What a handler has raised.
    """

    __slots__ = ("execution", "failure")

    def __init__(self) -> None:
        self.execution: Execution | None = None
        self.failure: Exception | None = None

    def follow(self, execution: Execution) -> None:
        """
        Learn of what *execution* the events are; some may have come before.
        """
        self.execution = execution
        if self.failure is not None:
            execution.cancel(GRACE)

    def handle(self, handler: Callable[[Any], object], event: Event) -> None:
        """
        Give *event* to *handler*, unless one has raised before.
        """
        if self.failure is not None:
            return
        try:
            handler(event)
        except Exception as error:
            # In this order: who learns of the execution meanwhile looks for a failure.
            self.failure = error
            if self.execution is not None:
                self.execution.cancel(GRACE)


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
