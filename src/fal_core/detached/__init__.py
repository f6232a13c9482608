"""
Detached work: the process that runs it, wherever that is, and those who follow it.

The author of a host that detaches work starts a :class:`Supervisor` in a process that outlives
its launcher, and returns a :class:`FollowedExecution` to each process that attaches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.detached.followers import FollowedExecution as FollowedExecution
    from fal_core.detached.followers import SupervisedExecution as SupervisedExecution
    from fal_core.detached.statuses import LOST as LOST
    from fal_core.detached.statuses import describe as describe
    from fal_core.detached.statuses import read_status as read_status
    from fal_core.detached.statuses import write_status as write_status
    from fal_core.detached.supervisors import Supervisor as Supervisor
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.detached.followers": "FollowedExecution SupervisedExecution",
            "fal_core.detached.statuses": "LOST describe read_status write_status",
            "fal_core.detached.supervisors": "Supervisor",
        },
    )
