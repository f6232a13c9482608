"""
Making a call again.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from fal_core.calling.waiting import Waiter
from fal_core.sinks.outcomes import is_retried

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher


def call_again(launcher: Launcher, arguments: Any) -> Any:
    """
    Make a call as often as its policy says, and return its result.

    All attempts together have the time of one call.
    """
    timeout = launcher.policy.timeout
    until = None if timeout is None else time.monotonic() + timeout
    for left in range(launcher.policy.retries, -1, -1):
        waiter = Waiter(launcher)
        try:
            execution = launcher.launch(launcher.call(arguments), waiter)
            seconds = None if until is None else max(0.0, until - time.monotonic())
            waiter.wait(execution, seconds)
            return waiter.result()
        except Exception as error:
            if not left or not is_retried(launcher.policy, error):
                raise
    raise AssertionError("The last attempt returns or raises.")
