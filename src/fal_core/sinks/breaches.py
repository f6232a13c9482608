"""Breaches: what a host does that the contract rules out, each named in one sentence."""

from __future__ import annotations

import logging
import threading
from typing import Any, get_args

from fal_core.abilities import Driven
from fal_core.errors import HostError, PluginError
from fal_core.events import Event, Exited, Outcome
from fal_core.reprs import in_one_line

#: What an execution has, as the protocol ``Execution`` says.
_EXECUTION = ("reference", "send", "drain", "cancel")

SECOND_OUTCOME = (
    "it sent a second Outcome of one call. A function ends once: send one Outcome, and then "
    "Exited."
)
NO_END = (
    "it ended a call with neither an Outcome nor a reason. Give Exited the HostError that "
    "says why there is no outcome."
)
#: Seconds after an outcome within which the end of the call is expected.
PATIENCE = 30.0

NO_EXITED = (
    f"it sent an Outcome and no Exited in the {PATIENCE:g} s after it. Send Exited as the "
    "last event."
)
NOT_DRIVEN = (
    "it passed on the sink of a call and returned an execution of its own that is not "
    "Driven, so nobody reads what the worker sends. Derive it from LateExecution or Driven "
    "and let drive() call that of the inner execution, or pass on a sink that is a plain "
    "function."
)

logger: logging.Logger = logging.getLogger("fal_core.sinks")

# What was logged in this process: hosts, and kinds of problems.
_told: set[tuple[str, str]] = set()
_lock = threading.Lock()


def breach_of(host: str, problem: str, cause: object = None) -> PluginError:
    """Return the error for *problem*, a sentence that says what *host* did and what to write."""
    error = PluginError(host, problem, role="Host")
    if isinstance(cause, BaseException):
        error.__cause__ = cause
    return error


def failure_of(host: str, method: str, error: BaseException) -> HostError:
    """Return the error for what a *method* of *host* has raised, which is no FalCoreError."""
    said = f"{type(error).__name__}: {in_one_line(error)}"
    failure = HostError(f"Host {host!r}: its {method} raised {said}.")
    failure.__cause__ = error
    return failure


def log_breach(host: str, problem: str, kind: str | None = None) -> None:
    """
    Log what *host* did when no call can be told any more; each problem once.

    Arguments:
        kind: What makes it the same problem, where *problem* has the facts of one call.
    """
    told = host, kind or problem
    with _lock:
        if told in _told:
            return
        _told.add(told)
    logger.error("%s", breach_of(host, problem))


# -- sentences -------------------------------------------------------------------


def after_the_end(event: object) -> str:
    """Return what is wrong with an event after the last one."""
    return f"it sent {type(event).__name__} after Exited, which is the last event of a call."


def breach_of_event(host: str, event: Any, before: Outcome | None) -> PluginError:
    """
    Return the error for an *event* that breaks the contract.

    Arguments:
        before: The outcome that has come before, if one has.
    """
    kind = type(event)
    if kind is Exited:
        return breach_of(host, wrong_reason(event.reason) or NO_END, event.reason)
    if kind is not Outcome:
        return breach_of(host, no_event(event))
    return breach_of(host, no_outcome(event.sealed) if before is None else SECOND_OUTCOME)


def raised_in(method: str, error: BaseException) -> str:
    """Return what is wrong with a *method* of an execution that has raised *error*."""
    return (
        f"{method}() of its execution raised {type(error).__name__}: {in_one_line(error)}. "
        "Let it raise nothing, and give Exited the HostError that ends the call."
    )


def raised_in_expect(error: BaseException) -> str:
    """Return what is wrong with a host whose ``expect`` has raised *error*."""
    return (
        f"expect() raised {type(error).__name__}: {in_one_line(error)}. Let it raise nothing: "
        "the call that follows says what is wrong."
    )


def no_event(event: object) -> str:
    """Return what is wrong with something else than an event."""
    for known in get_args(Event):
        if isinstance(event, known):
            return (
                f"it sent {_shown(event)}, of a subclass of {known.__name__}. "
                f"Send {known.__name__} itself."
            )
    return f"it sent {_shown(event)}, which is no event of fal_core.events."


def no_outcome(sealed: object) -> str:
    """Return what is wrong with an outcome that holds no sealed value."""
    return (
        f"its Outcome holds {_shown(sealed)} and no Sealed of fal_core.events. Pass on what "
        "the worker has sent, unopened."
    )


def wrong_reason(reason: object) -> str | None:
    """Return what is wrong with the reason of an end, if anything."""
    if reason is None or isinstance(reason, HostError):
        return None
    return (
        f"its Exited has the reason {_shown(reason)}, which is no HostError. "
        "Make one of it: HostError(str(error))."
    )


def check_execution(host: str, returned: object) -> None:
    """
    Check what the ``launch`` of *host* has returned.

    Raises:
        PluginError: It is no execution.
    """
    if returned is None:
        raise breach_of(host, "its launch returned None. Return the Execution of the call.")
    missing = [name for name in _EXECUTION if not hasattr(returned, name)]
    if missing:
        raise breach_of(
            host,
            f"its launch returned {_shown(returned)}, which has no "
            f"{' and no '.join(missing)}. Return an Execution.",
        )


def _shown(value: object) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 80 else shown[:77] + '...'} ({type(value).__name__})"


def drives(execution: Any) -> bool:
    """Tell whether a thread that waits for *execution* may deliver its events."""
    return isinstance(execution, Driven) and bool(getattr(execution, "drives", True))
