"""
Takeovers: how the runners of a new revision come to take the requests.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import attrs

from fal_server.fleet.runners import Runner
from fal_server.routing.runner_pools import ATTEMPTS
from fal_server.store.log_lines import LogLine


@attrs.define(eq=False)
class Takeover:
    """
    A pool on its way to take the requests of an application.

    Attributes:
        failures: Starts in a row that have failed.

        failed: The last runner that did not come up, where it has failed too often.

        superseded: Whether something else has taken its place before it was done.
    """

    failures: int = 0
    failed: Runner | None = None
    superseded: bool = False
    _is_settled: bool = False
    _followers: list[asyncio.Queue[LogLine | None]] = attrs.field(factory=list)

    async def follow(self) -> AsyncIterator[LogLine]:
        """
        Yield what its runners print until it has taken over, or does not.

        One that has failed goes on trying, though nobody is kept waiting for it.
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

    def take(self, line: LogLine) -> None:
        """
        Tell who follows it what a runner prints.
        """
        for lines in self._followers:
            lines.put_nowait(line)

    def note_failure(self, runner: Runner) -> None:
        """
        Note that *runner* did not come up.
        """
        self.failures += 1
        if self.failures >= ATTEMPTS:
            self.failed = runner
            self._settle()

    def end(self, *, superseded: bool) -> None:
        """
        Note that it has taken over, or that something else has taken its place.
        """
        if not self._is_settled:
            self.superseded = superseded
            self._settle()

    def _settle(self) -> None:
        self._is_settled = True
        for lines in self._followers:
            lines.put_nowait(None)
