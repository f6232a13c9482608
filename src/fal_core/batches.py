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

from fal_core.errors import HostError, WorkerLost
from fal_core.events import Event, Exited, HomeCall, Item, Log, Outcome, Returned, Started
from fal_core.hosts import Execution
from fal_core_worker.seals import Sealed
from fal_core_worker.slots import RAISED, SEALED, VALUE

if TYPE_CHECKING:
    from fal_core.launches import Launcher

#: Seconds that a batch is meant to take.
TARGET = 0.006
LARGEST = 4096
#: How much larger than the last a batch may be.
GROWTH = 8

#: The outcome of an item: (VALUE, value) or (RAISED, error).
ItemOutcome = tuple[int, Any]


class Batch:
    """
    One launch of several items; the sink of its events.

    Attributes:
        items: Pairs of positional and keyword arguments.

        tags: What the owner knows each item by.

        done: How many of them have an outcome.

        started: How many may have been started.
    """

    __slots__ = (
        "_take",
        "began",
        "done",
        "end",
        "execution",
        "exited",
        "items",
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
    ) -> None:
        self.launcher = launcher
        self.items = items
        self.tags = tags
        self.done = 0
        self.started = 0
        self.end = len(items)
        self.execution: Execution | None = None
        self.exited: Exited | None = None
        self.outcome: Outcome | None = None
        self.began = 0.0
        self._take = take

    def __call__(self, event: Event) -> None:
        kind = type(event)
        if kind is Log:
            from fal_core.launches import print_log

            print_log(event)  # type: ignore[arg-type]
        elif kind is HomeCall:
            from fal_core.launches import answer_home_call

            answer_home_call(self, event)  # type: ignore[arg-type]
        else:
            self._take(self, event)


class Batcher:
    """
    Cuts items into batches, launches them, and sorts out how they end.

    It is not thread-safe: its owner calls it from one thread, or under a lock.

    Arguments:
        take: Where batches send their events; it may be called on any thread,
            and leads to :meth:`handle`.

        deliver: Called with the tags and the outcomes of items that ended.
    """

    def __init__(
        self,
        launcher: Launcher,
        take: Callable[[Batch, Event], None],
        deliver: Callable[[list[Any], list[ItemOutcome]], None],
    ) -> None:
        self.launcher = launcher
        self.waiting: deque[tuple[tuple[tuple[Any, ...], dict[str, Any]], Any]] = deque()
        self.running: set[Batch] = set()
        self._take = take
        self._deliver = deliver
        self._attempts: dict[int, int] = {}
        capabilities = launcher.host.capabilities
        options = launcher.host_options
        self.limit = 2 * (options.max_concurrency or capabilities.concurrency)
        multiplexing = options.max_multiplexing or 1
        self._alone = not capabilities.batch or multiplexing > 1
        if multiplexing > 1:
            self.limit = self.limit * multiplexing
        self._alone = self._alone or launcher.policy.timeout is not None
        self.size = 1.0

    @property
    def room(self) -> int:
        """
        How many more items could be launched or wait for it usefully.
        """
        if self._alone:
            return self.limit - len(self.running) - len(self.waiting)
        running = sum(batch.end - batch.done for batch in self.running)
        return int(self.size) * self.limit - running - len(self.waiting)

    def launch_waiting(self) -> None:
        """
        Launch batches of waiting items while the host can take more.
        """
        waiting = self.waiting
        while waiting and len(self.running) < self.limit:
            count = 1 if self._alone else min(len(waiting), int(self.size), self._share())
            pairs = [waiting.popleft() for _ in range(count)]
            self._launch([item for item, _ in pairs], [tag for _, tag in pairs])

    def handle(self, batch: Batch, event: Event) -> None:
        """
        Act on *event* of *batch*.
        """
        kind = type(event)
        if kind is Item:
            self._handle_items(batch, event)  # type: ignore[arg-type]
        elif kind is Started:
            batch.started = max(batch.started, event.count)  # type: ignore[union-attr]
        elif kind is Returned:
            self._take_back(batch, event.first)  # type: ignore[union-attr]
        elif kind is Outcome:
            batch.outcome = event  # type: ignore[assignment]
        elif kind is Exited:
            self._finish(batch, event)  # type: ignore[arg-type]

    # -- launching -----------------------------------------------------------------

    def _share(self) -> int:
        """
        Leave items for the other workers when few are left.
        """
        return max(1, -(-len(self.waiting) // max(1, self.limit // 2)))

    def _launch(
        self, items: list[tuple[tuple[Any, ...], dict[str, Any]]], tags: list[Any]
    ) -> None:
        batch = Batch(self.launcher, items, tags, self._take)
        self.running.add(batch)
        try:
            if len(items) == 1:
                call = self.launcher.call(items[0])
            else:
                call = self.launcher.call(items, batch=len(items))
            batch.began = time.monotonic()
            batch.execution = self.launcher.launch(call, batch)
        except Exception as error:
            self.running.discard(batch)
            if len(items) == 1:
                self._deliver(tags, [(RAISED, error)])
                return
            # One of them cannot be sealed; alone each gets its own error.
            for item, tag in zip(items, tags, strict=True):
                self._launch([item], [tag])

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
        from fal_core.launches import is_retried

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
        self.size = max(1.0, min(self.size, float(first)))

    def _finish(self, batch: Batch, exited: Exited) -> None:
        self.running.discard(batch)
        # An execution refers to its sink: nothing waits for the collector.
        batch.execution = None
        if len(batch.items) == 1:
            outcome = self._single(batch, exited)
            self._settle(batch.items, batch.tags, [outcome])
            self._adapt(batch, 1)
            return
        self._adapt(batch, batch.done)
        if batch.done >= batch.end:
            return
        error: BaseException = exited.reason or WorkerLost(detail="It sent no outcome.")
        if isinstance(error, WorkerLost) and not error.detail:
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
        from fal_core.launches import open_outcome

        outcome, batch.outcome = batch.outcome, None
        try:
            return VALUE, open_outcome(batch.launcher, outcome, exited)
        except BaseException as error:
            return RAISED, error

    def _adapt(self, batch: Batch, count: int) -> None:
        if not count:
            self.size = 1.0
            return
        each = max(1e-7, (time.monotonic() - batch.began) / count / max(1, len(self.running)))
        wanted = TARGET / each
        self.size = max(1.0, min(wanted, self.size * GROWTH, LARGEST))


def open_items(launcher: Launcher, sealed: Sealed) -> list[ItemOutcome]:
    """
    Open the outcomes that an event of a batch carries.
    """
    from fal_core.sealing import open_value

    outcomes: list[ItemOutcome] = open_value(sealed, launcher.seal)
    if any(kind for kind, _ in outcomes):
        return [_open_item(launcher, kind, value) for kind, value in outcomes]
    return outcomes


def _open_item(launcher: Launcher, kind: int, value: Any) -> ItemOutcome:
    from fal_core.launches import reraised
    from fal_core.sealing import open_error, open_value

    try:
        if kind == RAISED:
            return RAISED, reraised(launcher, open_error(Sealed(value), launcher.seal))
        if kind == SEALED:
            return VALUE, open_value(Sealed(*value), launcher.seal)
    except Exception as error:
        return RAISED, error
    return kind, value
