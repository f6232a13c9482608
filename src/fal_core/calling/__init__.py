"""Calling: one call of a function, from its declaration to its result."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.calling.attempts import with_attempts
    from fal_core.calling.deadlines import with_deadline
    from fal_core.calling.late_executions import LateExecution
    from fal_core.calling.launcher import Launcher
    from fal_core.calling.preconditions import environment_for, for_machine

__all__ = [
    "LateExecution",
    "Launcher",
    "environment_for",
    "for_machine",
    "with_attempts",
    "with_deadline",
]

_exports = lazily(
    __name__,
    {
        "LateExecution": "fal_core.calling.late_executions",
        "Launcher": "fal_core.calling.launcher",
        "environment_for": "fal_core.calling.preconditions",
        "for_machine": "fal_core.calling.preconditions",
        "with_attempts": "fal_core.calling.attempts",
        "with_deadline": "fal_core.calling.deadlines",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
