"""
Pools: the runners of one revision, and the requests that wait for them.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable

import attrs

from fal_server.fleet.runners import Runner
from fal_server.fleet.states import ENDING, RunnerState
from fal_server.routing.refusals import NoRunner, RunnerBlocked, StartTimeout
from fal_server.specs.scaling import Scaling

#: Starts in a row that may fail before the requests that wait are told.
ATTEMPTS = 3

#: Seconds before another runner is started after one that did not come up.
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 60.0

#: States of runners that are no longer counted: they end without being replaced first.
_LEAVING = (RunnerState.DRAINING, RunnerState.TERMINATED)

_numbers = itertools.count()


@attrs.define(eq=False, order=False)
class WaitingRequest:
    """
    A request that waits.

    Attributes:
        hint: The runner it would rather have.
    """

    rank: tuple[int, int]
    future: asyncio.Future[Runner]
    since: float
    hint: str = ""

    def __lt__(self, other: WaitingRequest) -> bool:
        return self.rank < other.rank


@attrs.define(eq=False)
class RunnerPool:
    """
    The runners of one revision.

    Arguments:
        launch: Starts a runner; its argument is what is called when the runner's phase
            is another.

    Attributes:
        closed: Whether it takes no more requests.

        patient: Whether requests wait on where a runner does not come up at first.
    """

    scaling: Scaling
    launch: Callable[[Callable[[Runner], None]], Runner]
    runners: list[Runner] = attrs.field(factory=list)
    closed: bool = False
    patient: bool = True
    empty: asyncio.Event = attrs.field(factory=asyncio.Event)
    _waiting: list[WaitingRequest] = attrs.field(factory=list)
    _failures: int = 0
    _not_before: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _adjusting: bool = False
    _again: bool = False

    # -- requests ----------------------------------------------------------------------

    async def acquire(
        self, *, priority: int = 0, hint: str = "", timeout: float | None = None
    ) -> Runner:
        """
        Wait for a runner with room, and take one request's place of it.

        Arguments:
            priority: Smaller goes first.

            timeout: Seconds to wait at most.

        Raises:
            StartTimeout: None had room in time.

            NoRunner: None comes up, or the pool is closed.
        """
        if self.closed:
            raise NoRunner("The application was replaced or removed.")
        if not self._waiting:
            runner = self._find(hint)
            if runner is not None:
                self._take(runner)
                if self.scaling.is_buffered:
                    # Another runner is busy, beside which there may be another idle one.
                    self.adjust()
                return runner
        loop = asyncio.get_running_loop()
        waiter = WaitingRequest(
            (priority, next(_numbers)), loop.create_future(), time.monotonic(), hint
        )
        heapq.heappush(self._waiting, waiter)
        self.adjust()
        try:
            # What wait_for raises in the moment that a place is given would lose it.
            await asyncio.wait([waiter.future], timeout=timeout)
            if not waiter.future.done():
                raise StartTimeout("No runner could take the request in time.")
            return waiter.future.result()
        except asyncio.CancelledError:
            if waiter.future.done() and waiter.future.exception() is None:
                waiter.future.result().release()
            raise
        finally:
            # It may wait in another pool by now, which forgets what is cancelled.
            waiter.future.cancel()
            if waiter in self._waiting:
                self._waiting.remove(waiter)
                heapq.heapify(self._waiting)

    @property
    def waiting(self) -> int:
        """
        How many requests wait.
        """
        return len(self._waiting)

    @property
    def live(self) -> list[Runner]:
        """
        The runners that take requests, or are about to.
        """
        return [each for each in self.runners if each.state not in _LEAVING]

    # -- runners -----------------------------------------------------------------------

    def set_scaling(self, scaling: Scaling) -> None:
        """
        Use other settings from now on.
        """
        self.scaling = scaling
        self.adjust()

    def adopt(self, runner: Runner) -> None:
        """
        Take a runner that was found again.
        """
        runner.released = self._take_back
        self.runners.append(runner)

    def start_one(self) -> Runner:
        """
        Start a runner, whatever the settings say.
        """
        self.empty.clear()
        runner = self.launch(self.changed)
        runner.released = self._take_back
        self.runners.append(runner)
        return runner

    def move_waiting(self, other: RunnerPool) -> None:
        """
        Have the requests that wait here wait in *other*.
        """
        for waiter in self._waiting:
            heapq.heappush(other._waiting, waiter)
        self._waiting.clear()
        other.adjust()

    def close(self) -> None:
        """
        Take no more requests, and let runners end once they have none.
        """
        self.closed = True
        self.adjust()

    def kill(self) -> None:
        """
        Take no more requests, and end all runners now.
        """
        self.closed = True
        for runner in list(self.runners):
            runner.kill()
        self._fail_waiting("The application was removed.")
        self.adjust()

    def let_go(self) -> None:
        """
        Do nothing more; the runners go on.
        """
        self.closed = self._adjusting = True
        self._wake_at(None)
        self._fail_waiting("The server is ending.")

    def adjust(self) -> None:
        """
        Give requests to runners, and start and end runners as the settings say.
        """
        self._again = True
        if self._adjusting:
            return
        self._adjusting = True
        try:
            # What is done here changes runners, which asks for it once more.
            while self._again:
                self._again = False
                self._assign()
                if self.closed:
                    self._wind_down()
                else:
                    self._scale()
        finally:
            self._adjusting = False

    def changed(self, runner: Runner) -> None:
        """
        Act on a runner whose state has changed.
        """
        if runner.is_running:
            self._failures = 0
        if not runner.is_alive:
            if runner in self.runners:
                self.runners.remove(runner)
            if runner.lifecycle.failed_to_start:
                self._count_failure(runner)
        self.adjust()

    def _count_failure(self, runner: Runner) -> None:
        self._failures += 1
        delay = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** (self._failures - 1))
        if runner.lifecycle.is_blocked:
            # It is not at fault, and may come up as soon as there is room.
            delay = _FIRST_DELAY
        self._not_before = time.monotonic() + delay
        if any(each.is_running for each in self.runners):
            # Those that wait still have a chance.
            return
        if not self.patient or self._failures >= ATTEMPTS:
            kind = RunnerBlocked if runner.lifecycle.is_blocked else NoRunner
            sentence = f"The runner could not be started. {runner.why_it_ended}"
            self._fail_waiting(sentence, kind, runner.cause)

    def _fail_waiting(
        self, sentence: str, kind: type[NoRunner] = NoRunner, cause: Exception | None = None
    ) -> None:
        waiting, self._waiting = self._waiting, []
        for waiter in waiting:
            if not waiter.future.done():
                error = kind(sentence)
                error.__cause__ = cause
                waiter.future.set_exception(error)

    def _find(self, hint: str) -> Runner | None:
        """
        Return a runner with room: the one hinted at, or else the one with most room.
        """
        best = None
        for runner in self.runners:
            if not runner.is_running or runner.in_flight >= self.scaling.max_multiplexing:
                continue
            if runner.id == hint:
                return runner
            if best is None or runner.in_flight < best.in_flight:
                best = runner
        return best

    def _take(self, runner: Runner) -> None:
        runner.in_flight += 1

    def _take_back(self) -> None:
        """
        Act on a place that was given back.
        """
        if self.closed or self._waiting or len(self.runners) > 1 or self._is_idle:
            self.adjust()
        # Else nobody wants it, and the only runner has other requests: as it was.

    @property
    def _is_idle(self) -> bool:
        return not any(runner.in_flight for runner in self.runners)

    def _assign(self) -> None:
        while self._waiting:
            if self._waiting[0].future.done():
                heapq.heappop(self._waiting)
                continue
            runner = self._find(self._waiting[0].hint)
            if runner is None:
                return
            waiter = heapq.heappop(self._waiting)
            self._take(runner)
            waiter.future.set_result(runner)

    def _scale(self) -> None:
        now, scaling = time.monotonic(), self.scaling
        live = self.live
        in_flight = sum(runner.in_flight for runner in live)
        wake: list[float] = []
        demand = in_flight + len(self._waiting)
        if live and self._waiting:
            due = min(waiter.since for waiter in self._waiting) + scaling.scaling_delay
            if due > now:
                # The runners there are get a chance first.
                demand = min(demand, len(live) * scaling.max_multiplexing)
                wake.append(due)
        target = scaling.target(demand)
        while len(self.live) < target:
            if self._not_before > now:
                wake.append(self._not_before)
                break
            self.start_one()
        self._end_idle(now, target, wake)
        self._wake_at(min(wake) if wake else None)

    def _end_idle(self, now: float, target: int, wake: list[float]) -> None:
        live = [each for each in self.live if each.state not in ENDING]
        spare = len(live) - target
        too_many = len(live) - self.scaling.max_concurrency
        idle = [each for each in live if not each.in_flight and each.is_running]
        for runner in sorted(idle, key=lambda each: each.idle_since):
            if spare <= 0:
                return
            due = runner.idle_since + self.scaling.keep_alive
            if too_many > 0 or due <= now:
                runner.drain()
                spare -= 1
                too_many -= 1
            else:
                wake.append(due)

    def _wind_down(self) -> None:
        for runner in self.live:
            if not runner.is_running:
                runner.kill()
            elif not runner.in_flight:
                runner.drain()
        if not self.runners:
            self.empty.set()
        if self._waiting and not self.runners:
            self._fail_waiting("The application was replaced or removed.")
        self._wake_at(None)

    def _wake_at(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - time.monotonic()), self.adjust)
