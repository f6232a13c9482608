"""
Making a call again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fal_core.outcomes import is_retried
from fal_core.waiters import Waiter

if TYPE_CHECKING:
    from fal_core.launches import Launcher


def call_again(launcher: Launcher, arguments: Any) -> Any:
    """
    Make a call as often as its policy says, and return its result.
    """
    for left in range(launcher.policy.retries, -1, -1):
        waiter = Waiter(launcher)
        try:
            waiter.wait(launcher.launch(launcher.call(arguments), waiter))
            return waiter.result()
        except Exception as error:
            if not left or not is_retried(launcher.policy, error):
                raise
    raise AssertionError("The last attempt returns or raises.")
