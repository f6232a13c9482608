"""``submit``: calls whose results are futures."""

from __future__ import annotations

import threading
from functools import partial
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from fal_core.batching.batches import Batch, Batcher, Handler
from fal_core.batching.items import ItemOutcome
from fal_core.calling.call_futures import CallFuture
from fal_core.calling.launcher import Launcher
from fal_core.calling.program_ends import program_end
from fal_core.events import Event, Exited, Item, Returned
from fal_core.sinks.requests import try_cancel
from fal_core_worker.stream.frames import RAISED

if TYPE_CHECKING:
    from fal_core.calling.deadlines import Deadline
    from fal_core.errors import Timeout


class SubmittedFuture(CallFuture):
    """
    The future of a submitted call.

    Attributes:
        submitter: Makes the call.

        wanted: False once it was cancelled, or its time is up.
    """

    wanted = True
    submitter: Submitter
    deadline: Deadline | None = None

    def end_call(self) -> None:
        self.submitter.withdraw(self)

    def running(self) -> bool:
        """Tell whether the host runs the call."""
        return not self.done() and self.submitter.runs(self)


class Submitter:
    """
    Makes the calls of one launcher that are submitted.

    Attributes:
        launcher: Seals and launches the calls.
    """

    is_quiet = False

    def __init__(self, launcher: Launcher) -> None:
        self.launcher = launcher
        self._timeout = launcher.policy.timeout
        self.grace: float = launcher.policy.grace
        self.abandon()

    def abandon(self) -> None:
        """Begin without calls, in a forked child: those there are belong to the parent."""
        self._lock = threading.RLock()
        self._settled: list[tuple[SubmittedFuture, ItemOutcome]] = []
        # How many futures are being settled, whose callbacks may not have begun.
        self._settling = 0
        self._withdrawn = 0
        self._batcher = self._make_batcher(self.launcher)
        self._is_waited_for = False

    def _make_batcher(self, launcher: Launcher) -> Batcher:
        wanted = attrgetter("wanted")
        return Batcher(launcher, self._take, self._deliver, is_wanted=wanted)

    def count(self) -> int:
        """Return how many calls are under way and were not cancelled, or are being settled."""
        with self._lock:
            return len(self._under_way()) + len(self._settled) + self._settling

    def cancel(self) -> None:
        """Cancel all calls."""
        with self._lock:
            futures = self._under_way()
        for future in futures:
            future.cancel()

    def _under_way(self) -> list[SubmittedFuture]:
        futures = [future for _, future in self._batcher.waiting]
        for batch in self._batcher.running:
            futures += batch.tags[batch.done : batch.end]
        return [future for future in futures if not future.done()]

    def submit(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> SubmittedFuture:
        """Queue a call, and launch it if the host can take another."""
        future = SubmittedFuture()
        future.submitter = self
        self.enqueue(future, args, kwargs)
        return future

    def enqueue(self, future: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Queue the call of *future*, and launch it if the host can take another."""
        batcher = self._batcher
        with self._lock:
            if not self._is_waited_for:
                program_end.wait_for(self)
                self._is_waited_for = True
            if self._timeout is not None:
                from fal_core.calling.deadlines import Deadline

                future.deadline = Deadline(self._timeout, partial(self._time_out, future))
            batcher.waiting.append(((args, kwargs), future))
            if len(batcher.running) < batcher.limit:
                batcher.launch_waiting()
        if self._settled:
            self._settle()

    def runs(self, future: SubmittedFuture) -> bool:
        """Tell whether the host runs the call of *future*."""
        with self._lock:
            for batch in self._batcher.running:
                if batch.runs:
                    # A host may report only at the end which items it has started.
                    last = max(batch.started, batch.done + 1)
                    if future in batch.tags[batch.done : min(last, batch.end)]:
                        return True
            return False

    def withdraw(self, future: SubmittedFuture) -> None:
        """Take the call of *future* out of the queue, or end it, but not others of its launch."""
        self._stop_deadline(future)
        with self._lock:
            self._withdraw(future)

    def _cancel_alone(self, batch: Batch) -> None:
        """End *batch* if none of its remaining items is wanted."""
        if batch.cancelled or batch.execution is None or batch.done >= batch.end:
            return
        # What is not wanted stays so: no item is looked at twice.
        first = max(batch.unwanted, batch.done)
        while first < batch.end and not batch.tags[first].wanted:
            first += 1
        batch.unwanted = first
        if first >= batch.end:
            batch.cancelled = True
            launcher = self.launcher
            try_cancel(launcher.opener.host, batch.execution, launcher.policy.grace)

    def _take(self, handler: Handler, batch: Batch, event: Event) -> None:
        with self._lock:
            handler(batch, event)
            kind = type(event)
            if kind is Exited or kind is Returned:
                self._batcher.launch_waiting()
            if kind is Returned or kind is Item:
                self._cancel_alone(batch)
        self._settle()

    def _time_out(self, future: SubmittedFuture) -> None:
        """End the call of *future*, or take it out of the queue, as its time is up."""
        with self._lock:
            if future.done() or future.deadline is None:
                return
            # First of all: the end of the call may come at once.
            self._settled.append((future, (RAISED, self._find_error(future, future.deadline))))
            self._withdraw(future)
        self._settle()

    def _find_error(self, future: SubmittedFuture, deadline: Deadline) -> Timeout:
        from fal_core.calling.launches import find_launching

        host = self.launcher.opener.host
        batches = self._batcher.running
        own = [batch for batch in batches if future in batch.tags[batch.done : batch.end]]
        launchings = [find_launching(batch.execution) for batch in own or batches]
        if None in launchings or not launchings:
            return deadline.error(host, queued=not self.runs(future))
        if own and any(launching.has_begun for launching in launchings if launching):
            late = f"Host {host!r} has not returned from its launch, and may begin it yet."
            return deadline.error(host, detail=late)
        late = (
            f"Host {host!r} has not returned from the launch of another call before it, and it "
            "was withdrawn."
        )
        return deadline.error(host, queued=True, detail=late)

    def _withdraw(self, future: SubmittedFuture) -> None:
        future.wanted = False
        for batch in list(self._batcher.running):
            self._cancel_alone(batch)
        # If it waits, it is left out when its turn comes. What it was called with is freed
        # before, once this costs no more than the withdrawals.
        self._withdrawn += 1
        if 2 * self._withdrawn >= len(self._batcher.waiting):
            self._withdrawn = 0
            self._batcher.drop_unwanted()

    def _deliver(self, tags: list[Any], outcomes: list[ItemOutcome]) -> None:
        self._settled.extend(zip(tags, outcomes, strict=True))

    def _settle(self) -> None:
        """Give futures their outcomes, without the lock: callbacks may submit."""
        with self._lock:
            settled, self._settled = self._settled, []
            self._settling += len(settled)
        try:
            for future, (kind, value) in settled:
                if future.deadline is not None:
                    future.deadline.stop()
                if kind == RAISED:
                    future.settle(None, value)
                else:
                    future.settle(value)
        finally:
            with self._lock:
                self._settling -= len(settled)
        # A callback may have submitted another call.
        if self._is_waited_for and not (self._batcher.running or self._batcher.waiting):
            with self._lock:
                batcher = self._batcher
                rest = batcher.running or batcher.waiting or self._settled or self._settling
                if not rest:
                    self._is_waited_for = False
                    program_end.release(self)

    @staticmethod
    def _stop_deadline(future: SubmittedFuture) -> None:
        if future.deadline is not None:
            future.deadline.stop()
