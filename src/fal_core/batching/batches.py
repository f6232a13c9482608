"""
Batches: many calls of one function, made with few launches.

The size of a batch follows the measured time of an item, so that short calls share the
cost of a launch and long ones never wait behind each other. Every item has an outcome of
its own, and one that may have run is never run again unasked.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable
from itertools import islice
from operator import itemgetter
from typing import Any

from fal_core.batching.items import Arguments, ItemOutcome, named_argument, open_items
from fal_core.calling.attempts import Retries
from fal_core.calling.launcher import Launcher
from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import (
    Event,
    Exited,
    Item,
    Log,
    Returned,
    Started,
    State,
)
from fal_core.facts import copy_error
from fal_core.sinks.call_sinks import UnattendedSink, error_of
from fal_core.sinks.printing import print_log
from fal_core.tracebacks.trimming import trim
from fal_core_worker.sharing import SharedObject, count_apart
from fal_core_worker.stream.frames import RAISED, VALUE

#: Acts on one kind of event of a batch.
Handler = Callable[["Batch", Any], None]

#: Notes in an error which item it is of, by its tag and its arguments.
Note = Callable[[BaseException, Any, tuple[Any, ...], dict[str, Any]], None]


class Batch(UnattendedSink):
    """
    One launch of several items; the sink of its events.

    Arguments:
        batcher: Handles the events, perhaps later than they come.

    Attributes:
        items: The arguments of each item.

        tags: How the owner knows each item.

        launcher: Seals the items, which are calls of one function.

        done: How many of them have an outcome.

        started: How many may have been started.

        end: How many are left with this launch; the others were handed back.

        unwanted: How many of the first have ended or were withdrawn, as far as is known.

        cancelled: Whether it was ended, as none of its items was wanted.

        alone: Whether it is one item, launched as a call of its own.

        launched_at: When it was launched, by ``time.monotonic``.

        began_at: When its first item was started; 0 if the host has not reported that.

        ended_at: When it ended.

        runs: Whether the host has begun to run it.
    """

    runs: bool = False

    def __init__(
        self, batcher: Batcher, items: list[Arguments], tags: list[Any], *, alone: bool
    ) -> None:
        launcher = batcher.launcher_of(tags[0])
        super().__init__(launcher.opener, launcher.answer)
        self.launcher = launcher
        self.items = items
        self.tags = tags
        self.done = 0
        self.unwanted = 0
        self.cancelled = False
        self.started = 0
        self.end: int = len(items)
        self.alone = alone
        self.launched_at: float = 0.0
        self.began_at: float = 0.0
        self.ended_at: float = 0.0
        self._batcher = batcher
        self._take = batcher.take

    def on_state(self, state: State) -> None:
        if state.name == "running":
            self.runs = True

    def on_log(self, log: Log) -> None:
        print_log(log)

    def on_started(self, started: Started) -> None:
        if not self.began_at:
            self.began_at = time.monotonic()
        self._take(self._batcher.handle_started, self, started)

    def on_item(self, item: Item) -> None:
        self._take(self._batcher.handle_items, self, item)

    def on_returned(self, returned: Returned) -> None:
        self._take(self._batcher.handle_returned, self, returned)

    def on_exited(self, exited: Exited) -> None:
        super().on_exited(exited)
        self.ended_at = time.monotonic()
        self._take(self._batcher.handle_exited, self, exited)

    def single(self) -> ItemOutcome:
        """Return how the only item has ended, or the batch as a whole."""
        try:
            return VALUE, self.result()
        except BaseException as error:
            return RAISED, trim(error)


class Batcher:
    """
    Divides items into batches, launches them, and finds out how each item ended.

    It is not thread-safe: its owner calls it from one thread, or under a lock.

    Arguments:
        take: Called with each event of a batch, on any thread, and its handler, which it
            calls with both.

        deliver: Called with the tags and the outcomes of items that ended.

        timeout: Seconds that each item may take, from when the host runs it.

        is_wanted: Tells from its tag, just before an item is launched, whether it still
            should be. None where items are never withdrawn.

        note: None where it is plain of which item an error is.

    Attributes:
        waiting: Items that were not launched yet, with their tags.

        more: Whether its owner is about to add more of them.
    """

    def __init__(
        self,
        launcher: Launcher,
        take: Callable[[Handler, Batch, Event], None],
        deliver: Callable[[list[Any], list[ItemOutcome]], None],
        *,
        timeout: float | None = None,
        is_wanted: Callable[[Any], bool] | None = None,
        note: Note | None = None,
    ) -> None:
        self.launcher = launcher
        self._note = note
        self._is_wanted = is_wanted
        self.waiting: deque[tuple[Arguments, Any]] = deque()
        self.running: set[Batch] = set()
        self.take = take
        self._deliver = deliver
        # Items have attempts of their own; the launch has none.
        self._launch_call = launcher.launch_once
        if timeout is not None:
            from fal_core.calling.deadlines import with_deadline

            self._launch_call = with_deadline(
                self._launch_call, timeout, grace=launcher.policy.grace, from_start=True
            )
        self._retries: dict[int, Retries] = {}
        capabilities = launcher.host.capabilities
        options = launcher.host_options
        self.limit: int = 2 * (options.max_concurrency or capabilities.concurrency)
        multiplexing = options.max_multiplexing or 1
        # Over several nodes each item is a call of its own, which succeeds or fails as one.
        self._alone = not capabilities.batch or multiplexing > 1 or (options.nodes or 1) > 1
        if multiplexing > 1:
            self.limit = self.limit * multiplexing
        limits = (launcher.policy.timeout, launcher.request_timeout)
        self._alone = self._alone or any(limit is not None for limit in limits)
        self.pace: Pace = Pace(self.limit // 2)
        self._separation = Separation(LARGEST)
        self.more = False

    @property
    def room(self) -> int:
        """How many more items should be added to those that wait."""
        if self._alone:
            return self.limit - len(self.running) - len(self.waiting)
        running = sum(batch.end - batch.done for batch in self.running)
        return int(self.pace.size) * self.limit - running - len(self.waiting)

    def launch_waiting(self) -> None:
        """Launch batches of waiting items while the host can take more."""
        waiting = self.waiting
        while waiting and len(self.running) < self.limit:
            size = int(self.pace.size)
            count = 1 if self._alone else min(len(waiting), size, self._share())
            part = not self._alone and count < size
            if part and self.more and len(self.running) >= self.limit // 2:
                return  # Every worker is busy; items that come meanwhile fill the batch.
            count = count if count == 1 else self.count_apart(count)
            pairs = self._keep_wanted([waiting.popleft() for _ in range(count)])
            if pairs:
                self._launch([item for item, _ in pairs], [tag for _, tag in pairs])

    def launcher_of(self, tag: Any) -> Launcher:
        """Return the launcher of the function that the item of *tag* calls."""
        return self.launcher

    def count_apart(self, count: int) -> int:
        """Return how many of the next *count* items may be in one batch."""
        return self._separation.count(self.waiting, count)

    def drop_unwanted(self) -> None:
        """Free what waits but is not wanted any more."""
        kept = self._keep_wanted(self.waiting)
        self.waiting.clear()
        self.waiting.extend(kept)

    # -- launching -----------------------------------------------------------------

    def _share(self) -> int:
        """Leave items for the other workers when few are left."""
        if self.more:
            return LARGEST
        return max(1, -(-len(self.waiting) // max(1, self.limit // 2)))

    def _keep_wanted(
        self, pairs: Iterable[tuple[Arguments, Any]]
    ) -> list[tuple[Arguments, Any]]:
        if self._is_wanted is None:
            return list(pairs)
        kept = []
        for pair in pairs:
            if self._is_wanted(pair[1]):
                kept.append(pair)
            else:
                self._retries.pop(id(pair[1]), None)
        return kept

    def _launch(self, items: list[Arguments], tags: list[Any]) -> None:
        # A call of its own costs less, but does not show when it starts.
        alone = len(items) == 1 and (self._alone or not self.pace.tells_starts)
        batch = Batch(self, items, tags, alone=alone)
        seal = batch.launcher.call
        self.running.add(batch)
        try:
            call: Call = seal(items[0]) if alone else seal(items, batch=len(items))
            batch.launched_at = time.monotonic()
            batch.follow(self._launch_call(call, batch))
        except SharedObject as shared:
            self.running.discard(batch)
            self._take_back(batch, shared.count)
            self._launch(items[: batch.end], tags[: batch.end])
        except Exception as error:
            self.running.discard(batch)
            if len(items) == 1:
                error = error if alone else named_argument(error, seal, items[0])
                self._hand_out(items, tags, [(RAISED, error)])
                return
            # One of them cannot be sealed; alone each gets its own error.
            for item, tag in zip(items, tags, strict=True):
                self._launch([item], [tag])

    # -- events of batches ---------------------------------------------------------

    def handle_started(self, batch: Batch, started: Started) -> None:
        """Note which items of *batch* may have run."""
        batch.started = max(batch.started, started.count)

    def handle_items(self, batch: Batch, item: Item) -> None:
        """Settle the items of *batch* whose outcomes have come."""
        outcomes = open_items(batch.opener, item.sealed)
        tags = batch.tags[item.first : item.first + item.count]
        batch.done = item.first + item.count
        self._settle(batch.items[item.first : batch.done], tags, outcomes)

    def handle_returned(self, batch: Batch, returned: Returned) -> None:
        """Launch the items again that the worker has not started."""
        self._take_back(batch, returned.first)

    def handle_exited(self, batch: Batch, exited: Exited) -> None:
        """Settle the items of *batch* that have no outcome yet."""
        self.running.discard(batch)
        # An execution refers to its sink: this ends the cycle.
        batch.execution = None
        if batch.alone:
            self._settle(batch.items, batch.tags, [batch.single()])
            self._learn(batch, 1, exited)
            return
        self._learn(batch, batch.done, exited)
        if batch.done >= batch.end:
            return
        error = error_of(exited, batch.opener.name)
        if exited.reason is None:
            error = WorkerLost(detail="It sent no outcome.")
        if isinstance(error, WorkerLost) and not error.detail and len(batch.items) > 1:
            error.detail = "This item may have run, so it was not run again."
        if batch.outcome is not None and batch.outcome.raised:
            error = batch.single()[1]
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
            [(RAISED, error), *((RAISED, copy_error(error)) for _ in range(count - 1))],
        )

    def _settle(self, items: list[Any], tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        """Deliver the outcomes of items, but for those that are run again."""
        policy = self.launcher.policy
        if not policy.retries:
            self._hand_out(items, tags, outcomes)
            return
        for item, tag, outcome in zip(items, tags, outcomes, strict=True):
            retries = self._retries.get(id(tag))
            if outcome[0] == RAISED and retries is None:
                retries = self._retries[id(tag)] = Retries(policy.retries, policy.retry_on)
            if outcome[0] == RAISED and retries is not None and retries.take(outcome[1]):
                self.waiting.appendleft((item, tag))
            else:
                self._retries.pop(id(tag), None)
                self._hand_out([item], [tag], [outcome])

    def _hand_out(self, items: list[Any], tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        if self._note is not None and any(map(itemgetter(0), outcomes)):
            for item, tag, (kind, value) in zip(items, tags, outcomes, strict=True):
                if kind == RAISED:
                    self._note(value, tag, *item)
        self._deliver(tags, outcomes)

    def _take_back(self, batch: Batch, first: int) -> None:
        """Put items that the worker has not started back in front of those that wait."""
        pairs = zip(batch.items[first : batch.end], batch.tags[first : batch.end], strict=True)
        self.waiting.extendleft(reversed(list(pairs)))
        batch.end = min(batch.end, first)
        self.pace.slow_down(float(first))

    def _learn(self, batch: Batch, count: int, exited: Exited) -> None:
        running = len(self.running)
        if not count:
            self.pace.slow_down()
        elif not batch.began_at:
            self.pace.learn(count, batch.launched_at, batch.ended_at, running=running)
        elif exited.reason is None:
            self.pace.learn_started(
                count, batch.launched_at, batch.began_at, batch.ended_at, running=running
            )


# What is sealed together refers to one object together. Alone, every item gets its own, which
# its function may change.


class Separation:
    """Finds out how many of the items that wait may be in one batch."""

    def __init__(self, most: int) -> None:
        self._most = most
        # Items that have objects in common often come one after the other.
        self._ahead = most

    def count(self, waiting: deque[Any], count: int) -> int:
        """Return how many of the next *count* items in *waiting* may be in one batch."""
        count = min(count, self._ahead)
        calls = [
            (*args, *kwargs.values()) if kwargs else args
            for (args, kwargs), _ in islice(waiting, count)
        ]
        apart = count_apart(calls)
        self._ahead = min(self._most, 8 * self._ahead if apart == count else 2 * apart)
        return apart


#: Seconds that a batch is meant to take, for each worker that is busy.
TARGET = 0.006
LARGEST = 4096
#: How much larger than the last a batch may be.
GROWTH = 8


class Pace:
    """
    The size of the next batch, which follows the time that an item takes.

    If the host reports when items start, launching is no part of that time, and a batch
    should take no less time than its launch. Otherwise only the time from the launch to
    the end is known.

    Arguments:
        workers: How many batches the host runs at once.

    Attributes:
        size: How many items a batch should have, with a fraction.

        tells_starts: Whether the host reports when items start, as far as is known.
    """

    __slots__ = ("_launching", "_workers", "size", "tells_starts")

    def __init__(self, workers: int) -> None:
        self.size: float = 1.0
        self.tells_starts: bool = True
        self._workers = workers
        self._launching: float | None = None

    def slow_down(self, most: float = 1.0) -> None:
        """Make the next batch no larger than *most*."""
        self.size = max(1.0, min(self.size, most))

    def learn(self, count: int, launched: float, ended: float, *, running: int) -> None:
        """
        Learn from *count* items that ended, of a host that reports no starts.

        Arguments:
            running: How many batches shared the host meanwhile.
        """
        self.tells_starts = False
        self._follow(TARGET, (ended - launched) / count / max(1, running))

    def learn_started(
        self, count: int, launched: float, started: float, ended: float, *, running: int
    ) -> None:
        """Learn from *count* items that ended, the first of which began at *started*."""
        self.tells_starts = True
        # A launch that waited for another batch took longer than launching does.
        launching = started - launched
        self._launching = min(launching, self._launching or launching)
        busy = max(1, min(running, self._workers))
        self._follow(max(TARGET * busy, self._launching), (ended - started) / count)

    def _follow(self, seconds: float, each: float) -> None:
        wanted = seconds / max(1e-7, each)
        self.size = max(1.0, min(wanted, self.size * GROWTH, LARGEST))
