"""
Outcomes: what a function returned or raised, opened for its caller.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING, Any

from fal_core.errors import (
    Cancelled,
    EnvironmentBuildError,
    HostError,
    Timeout,
    UserFunctionException,
)
from fal_core.events import Exited, Outcome, Sealed
from fal_core.policies import Policy
from fal_core.sinks.handlers import HandlerFailed, error_of
from fal_core_worker.stream.frames import RAISED, SEALED, VALUE

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher

#: Errors of hosts after which a call is not made again.
_FINAL = (Cancelled, EnvironmentBuildError, HandlerFailed, Timeout)

#: The outcome of an item: (VALUE, value) or (RAISED, error).
ItemOutcome = tuple[int, Any]


def open_outcome(launcher: Launcher, outcome: Outcome | None, exited: Exited | None) -> Any:
    """
    Return what the function returned, or raise what it or its host raised.
    """
    if outcome is None:
        raise error_of(exited)
    if not outcome.raised:
        return launcher.open_value(outcome.sealed, launcher.seal)
    from fal_core.sealing.functions import open_error

    raise reraised(launcher, open_error(outcome.sealed, launcher.seal))


def open_items(launcher: Launcher, sealed: Sealed) -> list[ItemOutcome]:
    """
    Open the outcomes that an event of a batch carries.
    """
    outcomes: list[ItemOutcome] = launcher.open_value(sealed, launcher.seal)
    if any(map(itemgetter(0), outcomes)):
        return [_open_item(launcher, kind, value) for kind, value in outcomes]
    return outcomes


def reraised(launcher: Launcher, error: BaseException) -> BaseException:
    """
    Return *error*, or the documented wrapper around it where that is wanted.
    """
    if launcher.function.reraise:
        return error
    wrapper = UserFunctionException(f"The function raised {type(error).__name__}: {error}")
    wrapper.__cause__ = error
    return wrapper


def is_retried(policy: Policy, error: BaseException | None) -> bool:
    """
    Tell whether a call that ended with *error* may be made again.
    """
    if isinstance(error, HostError):
        return not isinstance(error, _FINAL)
    return isinstance(error, policy.retry_on)


def _open_item(launcher: Launcher, kind: int, value: Any) -> ItemOutcome:
    from fal_core.sealing.functions import open_error

    try:
        if kind == RAISED:
            return RAISED, reraised(launcher, open_error(Sealed(value), launcher.seal))
        if kind == SEALED:
            return VALUE, launcher.open_value(Sealed(*value), launcher.seal)
    except Exception as error:
        return RAISED, error
    return kind, value
