"""
Detached work: the process that runs it, wherever that is, and those who follow it.

The author of a host that detaches work starts a :class:`Supervisor` in a process that outlives
its launcher, and returns a :class:`FollowedExecution` to each process that attaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.detached.followers import FollowedExecution, SupervisedExecution
    from fal_core.detached.statuses import LOST, describe, end_status, read_status, write_status
    from fal_core.detached.supervisors import Supervisor

__all__ = [
    "LOST",
    "FollowedExecution",
    "SupervisedExecution",
    "Supervisor",
    "describe",
    "end_status",
    "read_status",
    "write_status",
]

_exports = lazily(
    __name__,
    {
        "FollowedExecution": "fal_core.detached.followers",
        "LOST": "fal_core.detached.statuses",
        "SupervisedExecution": "fal_core.detached.followers",
        "Supervisor": "fal_core.detached.supervisors",
        "describe": "fal_core.detached.statuses",
        "end_status": "fal_core.detached.statuses",
        "read_status": "fal_core.detached.statuses",
        "write_status": "fal_core.detached.statuses",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
