"""
Making a call again.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fal_core.launches import Waiter, is_retried

if TYPE_CHECKING:
    from fal_core.launches import Launcher


def repeat(launcher: Launcher, waiter: Waiter, arguments: Any) -> Waiter:
    """
    Make the call of *waiter* again while its policy says so; return the last.
    """
    for _ in range(launcher.policy.retries):
        try:
            waiter.result()
            return waiter
        except BaseException as error:
            if not is_retried(launcher.policy, error):
                return waiter
        waiter = Waiter(launcher)
        waiter.wait(launcher.launch(launcher.call(arguments), waiter))
    return waiter
