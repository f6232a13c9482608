"""Takeovers: the progress of a new pool that takes over the requests of an application."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import attrs

from fal_core.events import Log
from fal_server.fleet.runners import Runner
from fal_server.logs.line_buffers import LineQueue
from fal_server.logs.log_lines import LogLine
from fal_server.routing.runner_pools import RunnerPool
from fal_server.state.tasks import wait_for_event

#: The most bytes of lines that wait for one follower.
_WAITING = 16 << 20

#: Seconds between two looks whether a runner still waits for devices.
_LOOK = 0.25

#: What helps where the previous runners and a new one may not fit on the machine together, and
#: what a deployment that does that waits for.
_TRY_RECREATE = "'--strategy recreate' ends the previous runners before it starts a new one."
_WAIT_FOR_PREVIOUS = "The new one starts when they have finished their requests and ended."


async def _keep_nothing(*_: str) -> None:
    """Do nothing, for a pool whose end changes nothing that is stored."""


@attrs.define(eq=False)
class Takeover:
    """
    The progress of a pool that takes over the requests of an application once its first
    runner has come up.

    Attributes:
        pool: The pool.

        revision: The id of its revision.

        previous: The id of the revision that serves until then. Empty where none does.

        failing_since: Since when no runner of the application has come up, in seconds since the
            epoch. None for a first deployment, and where one has.

        rolling: Whether the previous runners take requests until then. Otherwise they end
            first, and requests wait.

        crowded: Why the previous runners and a new one may not fit on the machine together,
            as a sentence. Empty where they do, or where nobody knows.

        restore: Makes the pool of the previous revision once more. None where its runners
            do not end first, or where there is no previous revision.

        finish: Awaited when the runner has come up: stores that, and lets the pool take all
            requests.

        abandon: Awaited when it has not, with why that is: forgets what was stored.

        failed: The runner that did not come up.

        superseded: Whether another deployment replaced it before it was done.

        settled: Set once it has succeeded, has failed or was superseded.
    """

    pool: RunnerPool
    revision: str
    previous: str = ""
    failing_since: float | None = None
    rolling: bool = True
    crowded: str = ""
    restore: Callable[[], RunnerPool] | None = None
    finish: Callable[[], Awaitable[None]] = _keep_nothing
    abandon: Callable[[str], Awaitable[None]] = _keep_nothing
    failed: Runner | None = None
    superseded: bool = False
    settled: asyncio.Event = attrs.field(factory=asyncio.Event)
    _followers: list[LineQueue[None]] = attrs.field(factory=list)

    @property
    def advice(self) -> str:
        """
        Why the runners may not fit on the machine together, and what helps or is waited for.
        Empty where they do.
        """
        if not self.crowded:
            return ""
        return f"{self.crowded} {_TRY_RECREATE if self.rolling else _WAIT_FOR_PREVIOUS}"

    async def try_first_runner(self) -> Runner | None:
        """
        Start a runner, unless the pool has one, and wait until it is up or has ended. Return
        it in the second case.
        """
        runner = self.pool.runners[0] if self.pool.runners else self.pool.start_one()
        self.pool.adjust()
        runner.lines.follow = self._publish
        try:
            await self._wait_for(runner)
        finally:
            runner.lines.follow = None
        if runner.lifecycle.came_up:
            return None
        if runner.traceback and not runner.reason:
            # Its log has the line already, which is not among those that are followed.
            text, now = runner.traceback, time.time()
            self._publish(runner.lines.line_of(Log(text, "ERROR", "BRIDGE", now)))
        return runner

    async def _wait_for(self, runner: Runner) -> None:
        """
        Wait until a runner is up or has ended, and end one that waits for devices which this
        machine does not have, or for devices or a host longer than its timeout.
        """
        longest = self.pool.scaling.startup_timeout
        while not runner.ready.is_set():
            turn, waits_for = runner.lifecycle.turn, runner.lifecycle.waits_for
            if runner.lifecycle.unreached and longest is not None and runner.uptime > longest:
                runner.give_up(f"It has waited for {runner.uptime:.0f} s. {waits_for}")
            if turn is not None and turn.is_waiting and turn.reason:
                is_late = longest is not None and turn.seconds > longest
                if is_late or not turn.is_possible:
                    runner.give_up(turn.waited if is_late else turn.reason)
            await wait_for_event(runner.ready, _LOOK)

    async def follow(self) -> AsyncIterator[LogLine]:
        """Yield the log lines of the runner until it succeeds, fails or is superseded."""
        if self.settled.is_set():
            return
        lines: LineQueue[None] = LineQueue(_WAITING, "they came faster than they were read.")
        self._followers.append(lines)
        try:
            while True:
                for line in await lines.take():
                    if line is None:
                        return
                    yield line
        finally:
            self._followers.remove(lines)

    def end(self, *, failed: Runner | None = None, superseded: bool = False) -> None:
        """
        Report that it has taken over, that its runner has *failed*, or that it was
        superseded by another deployment.
        """
        if self.settled.is_set():
            return
        self.failed, self.superseded = failed, superseded
        self.settled.set()
        for lines in self._followers:
            lines.put_nowait(None)

    def _publish(self, line: LogLine) -> None:
        for lines in self._followers:
            lines.put_nowait(line)
