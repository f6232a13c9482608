"""
Streams: what a generator yields, as it yields it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any

from fal_core.events import Credit, Event, Exited, HomeCall, Item, Log, Outcome
from fal_core.hosts import Execution
from fal_core.sinks.handlers import HandlingSink, failed

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher

#: Items after which the worker is told that it may send as many more.
CREDIT = 8


class Stream(Iterator[Any]):
    """
    The items of a running generator function.

    The function is held back when the items are not taken. It is ended when
    the stream is closed or forgotten.
    """

    def __init__(
        self, launcher: Launcher, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.launcher = launcher
        self.execution: Execution | None = None
        self._arguments = (args, kwargs)
        self._events: SimpleQueue[Event] = SimpleQueue()
        self._taken = 0
        self._attempts = 0
        timeout = launcher.policy.timeout
        self._until = None if timeout is None else time.monotonic() + timeout
        self._outcome: Outcome | None = None
        self._ended = False
        self._launch()

    def __iter__(self) -> Stream:
        return self

    def __next__(self) -> Any:
        while not self._ended:
            event = self._get()
            if isinstance(event, Item):
                self._taken += 1
                if self._taken % CREDIT == 0 and self.execution is not None:
                    self.execution.send(Credit(CREDIT))
                return self.launcher.opener.open_value(event.sealed)
            if isinstance(event, Outcome):
                self._outcome = event
            elif isinstance(event, Exited):
                self._end(event)
        raise StopIteration

    def close(self) -> None:
        """
        End the function and take no more items.
        """
        if not self._ended:
            self._ended = True
            if self.execution is not None:
                self.execution.cancel(self.launcher.policy.grace)

    def __del__(self) -> None:
        self.close()

    def _get(self) -> Event:
        try:
            return self._events.get()
        except BaseException:
            self.close()
            raise

    def _launch(self) -> None:
        call = self.launcher.call(self._arguments, stream=True)
        sink = _StreamSink(self.launcher, self._events)
        if self._until is None:
            self.execution = self.launcher.launch(call, sink)
            sink.follow(self.execution)
            return
        from fal_core.sinks.time_limits import TimeLimit

        policy = self.launcher.policy
        seconds = self._until - time.monotonic()
        limited = TimeLimit(sink, seconds, grace=policy.grace, limit=policy.timeout)
        self.execution = self.launcher.launch(call, limited)
        limited.follow(self.execution)
        sink.follow(self.execution)

    def _end(self, exited: Exited) -> None:
        from fal_core.sinks.outcomes import is_retried, open_outcome

        reason = exited.reason
        policy = self.launcher.policy
        unheard = reason is not None and not self._taken and self._outcome is None
        if unheard and self._attempts < policy.retries and is_retried(policy, reason):
            self._attempts += 1
            self._launch()
            return
        self._ended = True
        open_outcome(self.launcher, self._outcome, exited)


class _StreamSink(HandlingSink):
    """
    Passes the events of a stream on, without keeping the stream itself alive.
    """

    def __init__(self, launcher: Launcher, events: SimpleQueue[Event]) -> None:
        super().__init__()
        self.launcher = launcher
        self.ended = False
        self._events = events

    def __call__(self, event: Event) -> None:
        from fal_core.calling.waiting import answer_home_call
        from fal_core.sinks.printing import print_log

        if isinstance(event, Log):
            self.handle(print_log, event)
        elif isinstance(event, HomeCall):
            answer_home_call(self, event)
        else:
            self.ended = isinstance(event, Exited)
            if self.failure is not None and isinstance(event, Outcome | Exited):
                if isinstance(event, Outcome):
                    return
                event = failed(self.failure)
            self._events.put(event)
