"""
Takeovers: the progress of a new pool that takes over the requests of an application.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import attrs

from fal_server.fleet.runners import Runner
from fal_server.logs.log_lines import LogLine
from fal_server.routing.runner_pools import ATTEMPTS


@attrs.define(eq=False)
class Takeover:
    """
    The progress of a pool that takes over the requests of an application.

    Attributes:
        failures: The number of consecutive failed starts.

        failed: The last runner that failed to start. None until too many starts have
            failed.

        superseded: Whether another deployment replaced it before it was done.
    """

    failures: int = 0
    failed: Runner | None = None
    superseded: bool = False
    _is_settled: bool = False
    _followers: list[asyncio.Queue[LogLine | None]] = attrs.field(factory=list)

    async def follow(self) -> AsyncIterator[LogLine]:
        """
        Yield the log lines of its runners until it succeeds, fails or is superseded.

        After a failure the pool keeps starting runners, but nobody waits for them.
        """
        if self._is_settled:
            return
        lines: asyncio.Queue[LogLine | None] = asyncio.Queue()
        self._followers.append(lines)
        try:
            while (line := await lines.get()) is not None:
                yield line
        finally:
            self._followers.remove(lines)

    def publish(self, line: LogLine) -> None:
        """
        Send a log line of a runner to the followers.
        """
        for lines in self._followers:
            lines.put_nowait(line)

    def note_failure(self, runner: Runner) -> None:
        """
        Count a failed start, and report a failure after too many.
        """
        self.failures += 1
        if self.failures >= ATTEMPTS:
            self.failed = runner
            self._settle()

    def end(self, *, superseded: bool) -> None:
        """
        Report that it has taken over, or was superseded by another deployment.
        """
        if not self._is_settled:
            self.superseded = superseded
            self._settle()

    def _settle(self) -> None:
        self._is_settled = True
        for lines in self._followers:
            lines.put_nowait(None)
