"""Requests: what is asked of an execution, by hosts whose executions may fail at it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from fal_core.errors import HostError

if TYPE_CHECKING:
    from fal_core.events import Message
    from fal_core.hosts import Execution


class Followed(Protocol):
    """
    The sink of a call, which can end it.

    Attributes:
        execution: The call, if it is known.
    """

    @property
    def execution(self) -> Execution | None: ...
    @property
    def host_name(self) -> str: ...
    @property
    def ended(self) -> bool: ...
    def end_with(self, error: HostError) -> None: ...


def request(host: str, method: Callable[..., object], *arguments: Any) -> None:
    """
    Call a *method* of an execution of *host* for somebody who is told what it raises.

    Raises:
        HostError: The host says so.

        PluginError: It raised anything else.
    """
    try:
        method(*arguments)
    except HostError:
        raise
    except Exception as error:
        raise failure_in(host, method.__name__, error) from error


def try_cancel(host: str, execution: Execution, grace: float) -> bool:
    """Cancel *execution* for nobody who could be told: log what it raises, and return False."""
    try:
        execution.cancel(grace)
    except Exception as error:
        from fal_core.sinks.breaches import log_breach, raised_in

        # Its message may name the call: each class is logged once.
        log_breach(host, raised_in("cancel", error), kind=f"cancel {type(error).__name__}")
        return False
    return True


def send(sink: Followed, message: Message) -> None:
    """Send *message* to the call of *sink*, which ends if its host fails to pass it on."""
    execution = sink.execution
    if execution is None:
        return
    try:
        execution.send(message)
    except Exception as error:
        if not isinstance(error, HostError):
            error = failure_in(sink.host_name, "send", error)
        if not sink.ended:
            sink.end_with(error)


def failure_in(host: str, method: str, error: Exception) -> HostError:
    """Return the error of a call whose host has raised *error* in a *method* of its execution."""
    from fal_core.sinks.breaches import breach_of, raised_in

    return breach_of(host, raised_in(method, error), error)
