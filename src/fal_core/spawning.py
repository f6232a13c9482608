"""
Starting a call that nobody waits for at once.
"""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any

from fal_core.events import Event, Exited, HomeCall, Item, Log, Outcome, Ready
from fal_core.outcomes import open_outcome
from fal_core.spawns import SpawnInfo
from fal_core.waiters import answer_home_call

if TYPE_CHECKING:
    from fal_core.calls import Lifetime
    from fal_core.hosts import Execution
    from fal_core.launches import Launcher


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


class SpawnSink:
    """
    Fills a :class:`SpawnInfo` from the events of its call.
    """

    def __init__(self, launcher: Launcher, info: SpawnInfo) -> None:
        self.launcher = launcher
        self.info = info
        self.execution: Execution | None = None
        self._outcome: Outcome | None = None
        self._items: list[Any] | None = None
        self._owed = 0
        self._lock = threading.Lock()

    def follow(self, execution: Execution) -> None:
        """
        Learn what *execution* the events are of; some may have come before.
        """
        self.execution = execution
        self._give_credit()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Log):
            # The queue holds whole lines.
            if not event.partial:
                self.info.logs.put(event)
        elif isinstance(event, Ready):
            self.info.url = event.urls.get("run") or next(iter(event.urls.values()), None)
        elif isinstance(event, Outcome):
            self._outcome = event
        elif isinstance(event, HomeCall):
            answer_home_call(self, event)
        elif isinstance(event, Item):
            self._add(event)
        elif isinstance(event, Exited):
            self._end(event)

    def _add(self, event: Item) -> None:
        from fal_core.sealing import open_value

        if self._items is None:
            self._items = []
        self._items.append(open_value(event.sealed, self.launcher.seal))
        with self._lock:
            self._owed += 1
        self._give_credit()

    def _give_credit(self) -> None:
        from fal_core_worker import frames
        from fal_core_worker.frames import Frame

        if self.execution is None:
            return
        with self._lock:
            owed, self._owed = self._owed, 0
        if owed:
            self.execution.send(Frame(frames.CREDIT, 0, owed, 0, b""))

    def _end(self, exited: Exited) -> None:
        future = self.info.future
        assert future is not None
        try:
            outcome, self._outcome = self._outcome, None
            value = open_outcome(self.launcher, outcome, exited)
            if self._items is not None:
                value = self._items
        except BaseException as error:
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
    future = SpawnFuture()
    future.grace = launcher.policy.grace
    info = SpawnInfo(future)
    sink = SpawnSink(launcher, info)
    stream = launcher.function.flavour.endswith("generator")
    call = launcher.call((args, kwargs), stream=stream, lifetime=lifetime)
    future.execution = info.stream = launcher.launch(call, sink)
    sink.follow(future.execution)
    return info
