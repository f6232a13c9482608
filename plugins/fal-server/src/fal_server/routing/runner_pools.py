"""Runner pools: the runners of a revision or function, and the requests that wait for them."""

from __future__ import annotations

import asyncio
import itertools
import time
from bisect import bisect_left, insort
from collections.abc import Callable
from weakref import WeakSet

import attrs

from fal_server.fleet.runners import Runner
from fal_server.fleet.states import ENDING, RunnerPhase
from fal_server.routing.refusals import NoRunner, RunnerBlocked, StartFailed, StartTimeout
from fal_server.specs.scaling import Scaling

_numbers = itertools.count()


@attrs.define(eq=False, order=False)
class WaitingRequest:
    """
    A request that waits for a runner.

    Attributes:
        priority: Requests with smaller numbers go first.

        since: When it began to wait, in seconds of the monotonic clock.

        hint: The id of the runner that it prefers.

        is_queued: Whether it waits on where this machine has no devices for a runner.

        number: Its place among requests of its priority, in the order in which they came.

        line: The line that it stands in. None where it stands in none.
    """

    priority: int
    future: asyncio.Future[Runner]
    since: float
    hint: str = ""
    is_queued: bool = False
    number: int = attrs.field(factory=_numbers.__next__)
    line: WaitingLine | None = None

    def __lt__(self, other: WaitingRequest) -> bool:
        return (self.priority, self.number) < (other.priority, other.number)

    def leave(self) -> None:
        """Leave the line that it stands in, if any."""
        if self.line is not None:
            self.line.remove(self)


class WaitingLine:
    """Requests in their order. Joining and leaving visit few of those that wait."""

    def __init__(self) -> None:
        self._sorted: list[WaitingRequest] = []
        #: The same requests, the one that has waited longest first.
        self._by_age: dict[WaitingRequest, None] = {}

    def __len__(self) -> int:
        return len(self._sorted)

    def add(self, request: WaitingRequest) -> None:
        """Have a request wait, which stands in no other line."""
        request.line = self
        insort(self._sorted, request)
        self._by_age[request] = None

    def remove(self, request: WaitingRequest) -> None:
        """Have a request of this line wait no more."""
        request.line = None
        del self._sorted[bisect_left(self._sorted, request)]
        del self._by_age[request]

    def first(self) -> WaitingRequest | None:
        """Return the request that is next. None if none waits."""
        while self._sorted:
            request = self._sorted[0]
            if not request.future.done():
                return request
            # It was cancelled, and its sender has not left yet.
            self.remove(request)
        return None

    def longest_wait(self) -> float | None:
        """
        Return when the request that has waited longest began to, in seconds of the monotonic
        clock. None if none waits.
        """
        return next((request.since for request in self._by_age), None)

    def take(self, is_meant: Callable[[WaitingRequest], bool]) -> list[WaitingRequest]:
        """Have those requests wait no more that are meant, and return them, in their order."""
        taken = [each for each in self._sorted if is_meant(each)]
        for request in taken:
            self.remove(request)
        return taken

    def take_all(self) -> list[WaitingRequest]:
        """Have no request wait any more, and return those that did, in their order."""
        taken, self._sorted, self._by_age = self._sorted, [], {}
        for request in taken:
            request.line = None
        return taken

    def move_to(self, other: WaitingLine) -> None:
        """Move all requests to *other*."""
        for request in self.take_all():
            other.add(request)
        other._by_age = dict.fromkeys(sorted(other._by_age, key=lambda each: each.since))


#: The consecutive starts that may fail before the requests that wait are refused.
ATTEMPTS = 3

#: Seconds before the next start after one failed. The delay doubles with each failure.
_FIRST_DELAY, _LONGEST_DELAY = 0.5, 60.0

#: States of runners that do not count towards the target, so that others may be started in
#: their place at once. A runner that is ended in another way counts until it has ended.
_LEAVING = (RunnerPhase.RETIRED, RunnerPhase.DRAINING, RunnerPhase.TERMINATED)


@attrs.define(eq=False)
class RunnerPool:
    """
    The runners of one revision or function.

    Arguments:
        launch: Starts a runner. Its argument is the callback for changes of the runner's
            state.

        patient: Whether requests keep waiting after a failed start, until too many starts
            have failed.

        came_up: Called when a runner is running.

    Attributes:
        closed: Whether it accepts no more requests.

        on_hold: Whether it starts no runners yet, while requests may wait already.

        empty: Set once it is closed and has no runners.
    """

    scaling: Scaling
    launch: Callable[[Callable[[Runner], None]], Runner]
    runners: list[Runner] = attrs.field(factory=list)
    closed: bool = False
    on_hold: bool = False
    patient: bool = True
    came_up: Callable[[], None] = lambda: None
    empty: asyncio.Event = attrs.field(factory=asyncio.Event)
    _line: WaitingLine = attrs.field(factory=WaitingLine)
    _failures: int = 0
    _no_start_before: float = 0.0
    _timer: asyncio.TimerHandle | None = None
    _adjusting: bool = False
    _must_repeat: bool = False
    #: The runners that were started for requests, and may end before they have started.
    _on_demand: WeakSet[Runner] = attrs.field(factory=WeakSet)

    # -- requests ----------------------------------------------------------------------

    async def acquire(
        self,
        *,
        priority: int = 0,
        hint: str = "",
        timeout: float | None = None,
        is_queued: bool = False,
    ) -> Runner:
        """
        Wait for a runner with a free slot, and take the slot. The caller gives it back with
        :meth:`Runner.release`.

        Arguments:
            priority: Requests with smaller numbers go first.

            hint: The id of the runner to prefer.

            timeout: Seconds to wait at most.

            is_queued: Whether it waits on where this machine has no devices for a runner.

        Raises:
            StartTimeout: No runner had a free slot in time.

            NoRunner: No runner could be started, or the pool is closed.
        """
        runner = self.take_free(hint)
        if runner is not None:
            return runner
        loop = asyncio.get_running_loop()
        now = time.monotonic()
        request = WaitingRequest(priority, loop.create_future(), now, hint, is_queued)
        self._line.add(request)
        self.adjust()
        try:
            # wait_for could raise at the moment a slot is assigned, and lose the slot.
            await asyncio.wait([request.future], timeout=timeout)
            if not request.future.done():
                raise StartTimeout.of(self.runners)
            return request.future.result()
        except asyncio.CancelledError:
            if request.future.done() and request.future.exception() is None:
                request.future.result().release()
            raise
        finally:
            request.future.cancel()
            # It may have moved to the line of another pool.
            request.leave()
            if any(each.lifecycle.is_waiting for each in self.runners):
                # Perhaps nobody else waits for what that waits for.
                self.adjust()

    def take_free(self, hint: str = "") -> Runner | None:
        """
        Take a slot that is free now, and return its runner. None if there is none, or other
        requests wait for one.

        Raises:
            NoRunner: The pool is closed.
        """
        if self.closed:
            raise NoRunner("The application was replaced or removed.")
        if self._line:
            return None
        runner = self._find(hint)
        if runner is not None:
            self._take_slot(runner)
            if self.scaling.is_buffered:
                # One more runner is busy, so a buffer of idle ones may need another.
                self.adjust()
        return runner

    @property
    def waiting(self) -> int:
        """The number of requests that wait."""
        return len(self._line)

    @property
    def live(self) -> list[Runner]:
        """The runners that count towards the target."""
        return [each for each in self.runners if each.state not in _LEAVING]

    @property
    def waits_for(self) -> str:
        """What its next runner waits for, as a sentence. Empty where none waits."""
        return next(filter(None, (each.lifecycle.waits_for for each in self.runners)), "")

    # -- runners -----------------------------------------------------------------------

    def set_scaling(self, scaling: Scaling) -> None:
        """Change the settings, and start or end runners accordingly."""
        before, self.scaling = self.scaling, scaling
        if before.machine_types != scaling.machine_types:
            self._end_waiting(len(self.runners))
        self.adjust()

    def adopt(self, runner: Runner) -> None:
        """Add a runner that was launched elsewhere."""
        runner.released = self._handle_release
        self.runners.append(runner)

    def start_one(self) -> Runner:
        """Start a runner regardless of the settings."""
        self.empty.clear()
        runner = self.launch(self.changed)
        runner.released = self._handle_release
        self.runners.append(runner)
        return runner

    def move_waiting(self, other: RunnerPool) -> None:
        """Move the requests that wait to *other*."""
        self._line.move_to(other._line)
        other.adjust()

    def close(self) -> None:
        """Accept no more requests. The runners finish those that it has, and then end."""
        self.closed = True
        self.adjust()

    def kill(self) -> None:
        """Accept no more requests, and end all runners now."""
        self.closed = True
        for runner in list(self.runners):
            runner.kill()
        self._fail_waiting("The application was removed.")
        self.adjust()

    def detach(self) -> None:
        """Accept no more requests, and leave the runners running."""
        self.closed = self._adjusting = True
        self._wake_at(None)
        self._fail_waiting("The server is shutting down.")

    def adjust(self) -> None:
        """Assign requests to runners, and start or end runners according to the settings."""
        self._must_repeat = True
        if self._adjusting:
            return
        self._adjusting = True
        try:
            # This changes runners, whose callbacks ask for another round.
            while self._must_repeat:
                self._must_repeat = False
                self._assign()
                self._refuse_impossible()
                if self.closed:
                    self._wind_down()
                else:
                    self._scale()
        finally:
            self._adjusting = False

    def changed(self, runner: Runner) -> None:
        """Handle a change of a runner's state."""
        if runner.is_running:
            self._failures = 0
            self.came_up()
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
            # The runner is not at fault: it can start once the server can write again.
            delay = _FIRST_DELAY
        self._no_start_before = time.monotonic() + delay
        if any(each.is_running for each in self.runners):
            # The other runners can still take the requests that wait.
            return
        if not self.patient or self._failures >= ATTEMPTS:
            kind = RunnerBlocked if runner.lifecycle.is_blocked else StartFailed
            sentence = f"The runner could not be started. {runner.why_it_ended}"
            self._fail_waiting(sentence, kind, runner.cause)

    def _fail_waiting(
        self, sentence: str, kind: type[NoRunner] = NoRunner, cause: Exception | None = None
    ) -> None:
        for request in self._line.take_all():
            if not request.future.done():
                error = kind(sentence)
                error.__cause__ = cause
                request.future.set_exception(error)

    def _find(self, hint: str) -> Runner | None:
        """Return a runner with a free slot: the preferred one, or else the least busy one."""
        best = None
        for runner in self.runners:
            if not runner.is_running or runner.in_flight >= self.scaling.max_multiplexing:
                continue
            if runner.id == hint:
                return runner
            if best is None or runner.in_flight < best.in_flight:
                best = runner
        return best

    def _take_slot(self, runner: Runner) -> None:
        runner.in_flight += 1

    def _handle_release(self) -> None:
        """Handle a slot that was given back."""
        if self.closed or self._line or len(self.runners) > 1 or self._is_idle:
            self.adjust()
        # Otherwise nothing waits, and the only runner is still busy: nothing to adjust.

    @property
    def _is_idle(self) -> bool:
        return not any(runner.in_flight for runner in self.runners)

    def _assign(self) -> None:
        while (request := self._line.first()) is not None:
            runner = self._find(request.hint)
            if runner is None:
                return
            request.leave()
            self._take_slot(runner)
            request.future.set_result(runner)

    def _scale(self) -> None:
        now, scaling = time.monotonic(), self.scaling
        live = self.live
        in_flight = sum(runner.in_flight for runner in live)
        wake_times: list[float] = []
        demand = in_flight + len(self._line)
        began = self._line.longest_wait()
        if live and began is not None:
            due = began + scaling.scaling_delay
            if due > now:
                # Give the present runners a chance before another one is started.
                demand = min(demand, len(live) * scaling.max_multiplexing)
                wake_times.append(due)
        target = scaling.target(demand)
        while len(self.live) < target and not self.on_hold:
            if self._no_start_before > now:
                wake_times.append(self._no_start_before)
                break
            self._on_demand.add(self.start_one())
        self._end_waiting(sum(each.state not in ENDING for each in self.live) - target)
        self._end_idle(now, target, wake_times)
        self._wake_at(min(wake_times) if wake_times else None)

    def _end_waiting(self, most: int) -> None:
        """End up to so many runners that wait for devices or a host, and nobody for them."""
        waiting = [each for each in self._on_demand if each.lifecycle.is_waiting]
        for runner in sorted(waiting, key=lambda each: each.started_at)[::-1][: max(0, most)]:
            runner.kill()

    def _refuse_impossible(self) -> None:
        """Refuse the requests whose senders wait for a runner that this machine cannot have."""
        turns = [each.lifecycle.turn for each in self.runners]
        if not turns or not all(turn and turn.is_waiting for turn in turns):
            return
        reason = next((turn.reason for turn in turns if turn and not turn.is_possible), "")
        if reason:
            for request in self._line.take(lambda each: not each.is_queued):
                if not request.future.done():
                    request.future.set_exception(NoRunner(f"No runner can start. {reason}"))

    def _end_idle(self, now: float, target: int, wake_times: list[float]) -> None:
        live = [each for each in self.live if each.state not in ENDING]
        spare = len(live) - target
        too_many = self.scaling.surplus(len(live))
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
                wake_times.append(due)

    def _wind_down(self) -> None:
        for runner in self.live:
            if not runner.is_running:
                runner.kill()
            elif not runner.in_flight:
                runner.drain()
        if not self.runners:
            self.empty.set()
        if self._line and not self.runners:
            self._fail_waiting("The application was replaced or removed.")
        self._wake_at(None)

    def _wake_at(self, due: float | None) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if due is not None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(max(0.0, due - time.monotonic()), self.adjust)
