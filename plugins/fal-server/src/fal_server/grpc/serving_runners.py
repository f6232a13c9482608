"""
The runner that serves an application for a run, and the one that takes its place.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import attrs

from fal_core.events import Log
from fal_server.fleet.runners import Runner
from fal_server.grpc.messages import line_of
from fal_server.logs.log_lines import LogLine
from fal_server.routing.runner_pools import RunnerPool


@attrs.define(eq=False)
class ServingRunner:
    """
    The runner whose end is the end of a run: the first one. If something is wrong with it,
    the pool replaces it, and the run goes on with another.

    Arguments:
        pool: The runners of the run.

        follow: Called with each runner that becomes the one.

        tell: Called with a line for the caller when one was replaced.

        end: Called when the run has ended, with the runner whose outcome is its result.
    """

    pool: RunnerPool
    follow: Callable[[Runner], None]
    tell: Callable[[LogLine], None]
    end: Callable[[Runner], None]
    current: Runner | None = attrs.field(default=None, init=False)

    def launched(self, runner: Runner) -> None:
        """
        Take a runner that the pool has launched.
        """
        if self.current is None:
            self._take(runner)

    def _take(self, runner: Runner) -> None:
        self.current = runner
        self.follow(runner)
        runner.outcome.add_done_callback(lambda _: self._ended(runner))

    def _ended(self, runner: Runner) -> None:
        if not runner.is_replaced or self.pool.closed:
            self.end(runner)
            return
        sentence = f"Runner {runner.id} was replaced. {runner.reason or _ASKED}"
        self.tell(line_of(Log(sentence, "WARNING", "BRIDGE", time.time())))
        self.current = None
        # Otherwise the pool launches one after a pause.
        for other in self.pool.live:
            self._take(other)
            break


_ASKED = "A response with status 503, or one that took too long, asked for that."
