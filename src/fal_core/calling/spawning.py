"""
Starting a call that nobody waits for at once.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fal_core.calling.waiting import answer_home_call
from fal_core.events import Credit, Event, Exited, HomeCall, Item, Log, Outcome, Ready
from fal_core.sinks.handlers import HandlingSink, failed
from fal_core.sinks.outcomes import is_retried, open_outcome
from fal_core.spawns import SpawnInfo

if TYPE_CHECKING:
    from fal_core.calling.launcher import Launcher
    from fal_core.calls import Call
    from fal_core.events import Message
    from fal_core.hosts import Execution
    from fal_core.options import Lifetime


class SpawnFuture(Future[Any]):
    """
    The future of a spawned call; cancelling it ends the call.
    """

    execution: Execution | None = None
    grace: float = 2.0

    def cancel(self) -> bool:
        """
        End the call.
        """
        if self.done():
            return False
        if self.execution is not None:
            self.execution.cancel(self.grace)
        return super().cancel()


class SpawnSink(HandlingSink):
    """
    Fills a :class:`SpawnInfo` from the events of its call.
    """

    def __init__(self, launcher: Launcher, info: SpawnInfo) -> None:
        super().__init__()
        self.launcher = launcher
        self.info = info
        self._outcome: Outcome | None = None
        self._items: list[Any] | None = None
        self._owed = 0
        self._exited = False
        self._lock = threading.Lock()
        #: Begins the call again, if it may be; set where its policy has retries.
        self.again: Callable[[BaseException], bool] | None = None

    def follow(self, execution: Execution) -> None:
        super().follow(execution)
        self._give_credit()

    @property
    def ended(self) -> bool:
        """
        Whether the call has ended.
        """
        return self._exited

    def __call__(self, event: Event) -> None:
        if isinstance(event, Exited):
            if self.failure is not None:
                self._outcome, event = None, failed(self.failure)
            self._end(event)
        else:
            self.handle(self._take, event)

    def _take(self, event: Event) -> None:
        if isinstance(event, Log):
            # The queue holds whole lines.
            if not event.partial:
                self.info.logs.put(event)
        elif isinstance(event, Ready):
            self.info.urls = event.urls
            self.info.url = event.urls.get("run") or next(iter(event.urls.values()), None)
        elif isinstance(event, Outcome):
            self._outcome = event
        elif isinstance(event, HomeCall):
            answer_home_call(self, event)
        elif isinstance(event, Item):
            self._add(event)

    def _add(self, event: Item) -> None:
        if self._items is None:
            self._items = []
        self._items.append(self.launcher.opener.open_value(event.sealed))
        with self._lock:
            self._owed += 1
        self._give_credit()

    def _give_credit(self) -> None:
        if self.execution is None:
            return
        with self._lock:
            owed, self._owed = self._owed, 0
        if owed:
            self.execution.send(Credit(owed))

    def _end(self, exited: Exited) -> None:
        self._exited = True
        future = self.info.future
        assert future is not None
        try:
            outcome, self._outcome = self._outcome, None
            value = open_outcome(self.launcher, outcome, exited)
            if self._items is not None:
                value = self._items
        except BaseException as error:
            # What was seen of it is not taken back: it is not begun again after that.
            unseen = self._items is None and self.info._url is None and not future.done()
            if unseen and self.again is not None and self.again(error):
                return
            if not future.done():
                future.set_exception(error)
        else:
            if not future.done():
                future.set_result(value)
        self._outcome = self._items = None
        # Whoever waits for a url learns that there will be none.
        self.info._url_ready.set()


def spawn(
    launcher: Launcher,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    lifetime: Lifetime = "attached",
) -> SpawnInfo:
    """
    Launch a call and return what it can be followed by.

    A generator function's result is the list of what it yields.
    """
    policy = launcher.policy
    future = SpawnFuture()
    future.grace = policy.grace
    info = SpawnInfo(future)
    sink = SpawnSink(launcher, info)
    stream = launcher.function.flavour.endswith("generator")
    call = launcher.call((args, kwargs), stream=stream, lifetime=lifetime)
    # The keeper of detached work sees to its time and its attempts.
    kept = lifetime == "detached"
    if kept or (policy.timeout is None and not policy.retries):
        future.execution = info.stream = launcher.launch(call, sink)
        sink.follow(future.execution)
    else:
        Attempts(call, sink).launch()
    return info


class Attempts:
    """
    The execution of a spawned call that has limits: of its time, of its attempts.
    """

    def __init__(self, call: Call, sink: SpawnSink) -> None:
        policy = sink.launcher.policy
        self._call = call
        self._sink = sink
        self._left = policy.retries
        self._until = None if policy.timeout is None else time.monotonic() + policy.timeout
        self._cancelled = False
        self._number = 0
        self._lock = threading.RLock()
        self._inner: Execution | None = None
        future = sink.info.future
        assert isinstance(future, SpawnFuture)
        future.execution = sink.info.stream = self
        if policy.retries:
            sink.again = self._launch_again

    @property
    def reference(self) -> str:
        return self._call.id if self._inner is None else self._inner.reference

    def send(self, message: Message) -> None:
        if self._inner is not None:
            self._inner.send(message)

    def drain(self) -> None:
        if self._inner is not None:
            self._inner.drain()

    def cancel(self, grace: float) -> None:
        self._cancelled = True
        if self._inner is not None:
            self._inner.cancel(grace)

    def launch(self) -> None:
        """
        Begin the call.
        """
        launcher = self._sink.launcher
        with self._lock:
            self._number = number = self._number + 1
        sink: Any = self._sink
        if self._until is not None:
            from fal_core.sinks.time_limits import TimeLimit

            policy = launcher.policy
            seconds = self._until - time.monotonic()
            sink = TimeLimit(sink, seconds, grace=policy.grace, limit=policy.timeout)
        inner = launcher.launch(self._call, sink)
        if sink is not self._sink:
            sink.follow(inner)
        with self._lock:
            # One that ended at once may have been followed by the next already.
            if number == self._number:
                self._inner = inner
                self._sink.follow(self)
            cancelled = self._cancelled
        if cancelled:
            inner.cancel(launcher.policy.grace)

    def _launch_again(self, error: BaseException) -> bool:
        launcher = self._sink.launcher
        if self._cancelled or not self._left or not is_retried(launcher.policy, error):
            return False
        self._left -= 1
        self._call = launcher.renew(self._call)
        try:
            self.launch()
        except Exception:
            # The host takes no calls any more: what ended this one is told.
            return False
        return True
