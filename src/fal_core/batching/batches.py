"""
Batches: many calls of one function carried by few launches.

The size of a batch follows the measured time of an item, so that short calls
share the cost of a launch and long ones never wait behind each other. Items
are told apart all the way: each has its outcome, and one that may have run is
never run again unasked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fal_core.batching.paces import LARGEST, Pace
from fal_core.calling.waiting import answer_home_call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Event, Exited, HomeCall, Item, Log, Outcome, Returned, Started
from fal_core.hosts import Execution
from fal_core.sinks.handlers import HandlingSink, error_of, failed
from fal_core.sinks.outcomes import ItemOutcome, is_retried, open_items, open_outcome
from fal_core.sinks.printing import print_log
from fal_core_worker.stream.frames import RAISED, VALUE

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher
    from fal_core.calls import Call


class Batch(HandlingSink):
    """
    One launch of several items; the sink of its events.

    Attributes:
        items: Pairs of positional and keyword arguments.

        tags: What the owner knows each item by.

        done: How many of them have an outcome.

        started: How many may have been started.

        alone: Whether it is one item, launched as a call of its own.

        launched: When it was launched, by ``time.monotonic``.

        began: When its first item was started; 0 if the host has not told.

        ended: When it ended.
    """

    __slots__ = (
        "_take",
        "alone",
        "began",
        "done",
        "end",
        "ended",
        "items",
        "launched",
        "launcher",
        "outcome",
        "started",
        "tags",
    )

    def __init__(
        self,
        launcher: Launcher,
        items: list[tuple[tuple[Any, ...], dict[str, Any]]],
        tags: list[Any],
        take: Callable[[Batch, Event], None],
        *,
        alone: bool,
    ) -> None:
        super().__init__()
        self.launcher = launcher
        self.items = items
        self.tags = tags
        self.done = 0
        self.started = 0
        self.end = len(items)
        self.outcome: Outcome | None = None
        self.alone = alone
        self.launched = self.began = self.ended = 0.0
        self._take = take

    def __call__(self, event: Event) -> None:
        kind = type(event)
        if kind is Log:
            self.handle(print_log, event)
        elif kind is HomeCall:
            answer_home_call(self, event)  # type: ignore[arg-type]  # its kind says so
        else:
            # Its owner may take the event later than it came.
            if kind is Exited:
                self.ended = time.monotonic()
                if self.failure is not None:
                    event = failed(self.failure)
            elif self.failure is not None and kind in (Item, Outcome):
                return
            elif kind is Started and not self.began:
                self.began = time.monotonic()
            self._take(self, event)


class Batcher:
    """
    Cuts items into batches, launches them, and sorts out how they end.

    It is not thread-safe: its owner calls it from one thread, or under a lock.

    Arguments:
        take: Where batches send their events; it may be called on any thread,
            and leads to :meth:`handle`.

        deliver: Called with the tags and the outcomes of items that ended.

        timeout: Seconds that each item may take from when it runs.

    Attributes:
        waiting: Items with their tags, not launched yet.

        more: Whether its owner has more of them, to be put there soon.
    """

    def __init__(
        self,
        launcher: Launcher,
        take: Callable[[Batch, Event], None],
        deliver: Callable[[list[Any], list[ItemOutcome]], None],
        *,
        timeout: float | None = None,
    ) -> None:
        self.launcher = launcher
        self.waiting: deque[tuple[tuple[tuple[Any, ...], dict[str, Any]], Any]] = deque()
        self.running: set[Batch] = set()
        self._take = take
        self._deliver = deliver
        self._timeout = timeout
        self._attempts: dict[int, int] = {}
        capabilities = launcher.host.capabilities
        options = launcher.host_options
        self.limit = 2 * (options.max_concurrency or capabilities.concurrency)
        multiplexing = options.max_multiplexing or 1
        self._alone = not capabilities.batch or multiplexing > 1
        if multiplexing > 1:
            self.limit = self.limit * multiplexing
        self._alone = self._alone or launcher.policy.timeout is not None
        self.pace = Pace(self.limit // 2)
        self.more = False

    @property
    def room(self) -> int:
        """
        How many more items could be launched or wait for it usefully.
        """
        if self._alone:
            return self.limit - len(self.running) - len(self.waiting)
        running = sum(batch.end - batch.done for batch in self.running)
        return int(self.pace.size) * self.limit - running - len(self.waiting)

    def launch_waiting(self) -> None:
        """
        Launch batches of waiting items while the host can take more.
        """
        waiting = self.waiting
        while waiting and len(self.running) < self.limit:
            size = int(self.pace.size)
            count = 1 if self._alone else min(len(waiting), size, self._share())
            part = not self._alone and count < size
            if part and self.more and len(self.running) >= self.limit // 2:
                return  # Every worker is busy; what comes meanwhile goes along.
            pairs = [waiting.popleft() for _ in range(count)]
            self._launch([item for item, _ in pairs], [tag for _, tag in pairs])

    def handle(self, batch: Batch, event: Event) -> None:
        """
        Act on *event* of *batch*.
        """
        kind = type(event)
        if kind is Item:
            self._handle_items(batch, event)  # type: ignore[arg-type]  # its kind says so
        elif kind is Started:
            count = event.count  # type: ignore[union-attr]  # its kind says so
            batch.started = max(batch.started, count)
        elif kind is Returned:
            self._take_back(batch, event.first)  # type: ignore[union-attr]  # its kind says so
        elif kind is Outcome:
            batch.outcome = event  # type: ignore[assignment]  # its kind says so
        elif kind is Exited:
            self._finish(batch, event)  # type: ignore[arg-type]  # its kind says so

    # -- launching -----------------------------------------------------------------

    def _share(self) -> int:
        """
        Leave items for the other workers when few are left.
        """
        if self.more:
            return LARGEST
        return max(1, -(-len(self.waiting) // max(1, self.limit // 2)))

    def _launch(
        self, items: list[tuple[tuple[Any, ...], dict[str, Any]]], tags: list[Any]
    ) -> None:
        # A call of its own costs less, and nothing tells when it starts.
        alone = len(items) == 1 and (self._alone or not self.pace.tells_starts)
        batch = Batch(self.launcher, items, tags, self._take, alone=alone)
        self.running.add(batch)
        try:
            if alone:
                call = self.launcher.call(items[0])
            else:
                call = self.launcher.call(items, batch=len(items))
            batch.launched = time.monotonic()
            batch.follow(self._launch_call(call, batch))
        except Exception as error:
            self.running.discard(batch)
            if len(items) == 1:
                self._deliver(tags, [(RAISED, error)])
                return
            # One of them cannot be sealed; alone each gets its own error.
            for item, tag in zip(items, tags, strict=True):
                self._launch([item], [tag])

    def _launch_call(self, call: Call, batch: Batch) -> Execution:
        if self._timeout is None:
            return self.launcher.launch(call, batch)
        from fal_core.sinks.time_limits import TimeLimit

        grace = self.launcher.policy.grace
        sink = TimeLimit(batch, self._timeout, grace=grace, from_start=True)
        execution = self.launcher.launch(call, sink)
        sink.follow(execution)
        return execution

    # -- endings -------------------------------------------------------------------

    def _handle_items(self, batch: Batch, event: Item) -> None:
        outcomes = open_items(batch.launcher, event.sealed)
        tags = batch.tags[event.first : event.first + event.count]
        batch.done = event.first + event.count
        self._settle(batch.items[event.first : batch.done], tags, outcomes)

    def _settle(self, items: list[Any], tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        policy = self.launcher.policy
        if not policy.retries:
            self._deliver(tags, outcomes)
            return
        for item, tag, outcome in zip(items, tags, outcomes, strict=True):
            if outcome[0] == RAISED and self._may_retry(tag, outcome[1]):
                self.waiting.appendleft((item, tag))
            else:
                self._attempts.pop(id(tag), None)
                self._deliver([tag], [outcome])

    def _may_retry(self, tag: Any, error: BaseException) -> bool:
        policy = self.launcher.policy
        attempts = self._attempts.get(id(tag), 0)
        if attempts >= policy.retries or not is_retried(policy, error):
            return False
        self._attempts[id(tag)] = attempts + 1
        return True

    def _take_back(self, batch: Batch, first: int) -> None:
        """
        Queue items again, in front, that the worker has not started.
        """
        pairs = zip(batch.items[first : batch.end], batch.tags[first : batch.end], strict=True)
        self.waiting.extendleft(reversed(list(pairs)))
        batch.end = min(batch.end, first)
        self.pace.slow_down(float(first))

    def _finish(self, batch: Batch, exited: Exited) -> None:
        self.running.discard(batch)
        # An execution refers to its sink: nothing waits for the collector.
        batch.execution = None
        if batch.alone:
            outcome = self._single(batch, exited)
            self._settle(batch.items, batch.tags, [outcome])
            self._learn(batch, 1, exited)
            return
        self._learn(batch, batch.done, exited)
        if batch.done >= batch.end:
            return
        error = error_of(exited)
        if exited.reason is None:
            error = WorkerLost(detail="It sent no outcome.")
        if isinstance(error, WorkerLost) and not error.detail and len(batch.items) > 1:
            error.detail = "This item may have run, so it was not run again."
        if batch.outcome is not None and batch.outcome.raised:
            error = self._single(batch, exited)[1]
            batch.started = batch.end
        lost = max(batch.started, batch.done) if isinstance(error, HostError) else batch.end
        if batch.started < batch.end and isinstance(error, HostError) and batch.started:
            self._take_back(batch, lost)
        else:
            lost = batch.end
        count = lost - batch.done
        self._settle(
            batch.items[batch.done : lost],
            batch.tags[batch.done : lost],
            [(RAISED, error)] * count,
        )

    def _single(self, batch: Batch, exited: Exited) -> ItemOutcome:
        outcome, batch.outcome = batch.outcome, None
        try:
            return VALUE, open_outcome(batch.launcher, outcome, exited)
        except BaseException as error:
            return RAISED, error

    def _learn(self, batch: Batch, count: int, exited: Exited) -> None:
        running = len(self.running)
        if not count:
            self.pace.slow_down()
        elif not batch.began:
            self.pace.learn(count, batch.launched, batch.ended, running=running)
        elif exited.reason is None:
            self.pace.learn_started(
                count, batch.launched, batch.began, batch.ended, running=running
            )
