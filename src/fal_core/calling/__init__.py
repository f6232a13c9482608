"""Calling: one call of a function, from its declaration to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.calling.attempts import with_attempts as with_attempts
    from fal_core.calling.deadlines import with_deadline as with_deadline
    from fal_core.calling.late_executions import LateExecution as LateExecution
    from fal_core.calling.launcher import Launcher as Launcher
    from fal_core.calling.preconditions import environment_for as environment_for
    from fal_core.calling.preconditions import for_machine as for_machine
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.calling.attempts": "with_attempts",
            "fal_core.calling.deadlines": "with_deadline",
            "fal_core.calling.late_executions": "LateExecution",
            "fal_core.calling.launcher": "Launcher",
            "fal_core.calling.preconditions": "environment_for for_machine",
        },
    )
