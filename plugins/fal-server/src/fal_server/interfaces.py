"""
What the parts of the control plane know of each other.

The routes of the API ask the parts that run things through these alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

import attrs

from fal_server.callers import Caller


@attrs.frozen(kw_only=True)
class QueueSize:
    """
    How many requests wait.

    Attributes:
        by_caller: The same by the account that has sent them.
    """

    size: int
    by_caller: Mapping[str, int] = attrs.field(factory=dict)


@attrs.frozen(kw_only=True)
class RunnerTimes:
    """
    When a runner was started and has ended. None where it has not yet.
    """

    started_at: float | None
    ended_at: float | None


class Applications(Protocol):
    """
    Knows what is registered.
    """

    async def metadata(self, caller: Caller, owner: str, alias: str) -> Mapping[str, Any]:
        """
        Return what the application was registered with as its metadata.

        Raises:
            NotFound: There is none that *caller* may see.
        """


class Queue(Protocol):
    """
    Keeps requests that wait.
    """

    async def size(self, caller: Caller, owner: str, alias: str) -> QueueSize:
        """
        Return how many requests wait for an application.

        Raises:
            NotFound: There is none that *caller* may see.
        """

    async def flush(self, caller: Caller, owner: str, alias: str, *, sender: str | None) -> int:
        """
        Drop the requests that wait, those of *sender* alone where one is named, and
        return how many they were.

        Raises:
            NotFound: There is no such application of *caller*.
        """


class Runners(Protocol):
    """
    Knows what runs.
    """

    async def times(self, caller: Caller, runner_id: str) -> RunnerTimes:
        """
        Return when a runner was started and has ended.

        Raises:
            NotFound: There is no such runner of *caller*.
        """
