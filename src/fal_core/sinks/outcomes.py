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
        return launcher.opener.open_value(outcome.sealed)
    raise launcher.opener.open_error(outcome.sealed)


def open_items(launcher: Launcher, sealed: Sealed) -> list[ItemOutcome]:
    """
    Open the outcomes that an event of a batch carries.
    """
    outcomes: list[ItemOutcome] = launcher.opener.open_value(sealed)
    if any(map(itemgetter(0), outcomes)):
        return [_open_item(launcher, kind, value) for kind, value in outcomes]
    return outcomes


def is_retried(policy: Policy, error: BaseException | None) -> bool:
    """
    Tell whether a call that ended with *error* may be made again.
    """
    if isinstance(error, HostError):
        return not isinstance(error, _FINAL)
    return isinstance(error, policy.retry_on)


def _open_item(launcher: Launcher, kind: int, value: Any) -> ItemOutcome:
    try:
        if kind == RAISED:
            return RAISED, launcher.opener.open_error(Sealed(value))
        if kind == SEALED:
            return VALUE, launcher.opener.open_value(Sealed(*value))
    except Exception as error:
        return RAISED, error
    return kind, value
