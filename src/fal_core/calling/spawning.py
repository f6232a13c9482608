"""Spawning: starting a call that runs while its caller goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from fal_core.calling.call_futures import CallFuture
from fal_core.calling.launcher import Launcher
from fal_core.calling.preconditions import check_detaching
from fal_core.events import Credit, Exited, HomeCall, Item, Log, Ready, State
from fal_core.hosts import Execution
from fal_core.options import Lifetime
from fal_core.sealing.opener import Opener
from fal_core.sinks.call_sinks import OpeningSink, UnattendedSink
from fal_core.sinks.requests import request, send, try_cancel
from fal_core.spawns import SpawnInfo
from fal_core.tracebacks.trimming import trim


class SpawnFuture(CallFuture):
    """The future of a spawned call."""

    execution: Execution | None = None
    host = ""
    grace: float = 2.0
    has_begun = False

    def running(self) -> bool:
        """Tell whether the host runs the call."""
        return self.has_begun and not self.done()

    def ask(self, method: Callable[..., object], *arguments: Any) -> None:
        """Call a *method* of the execution; what it raises names the host."""
        request(self.host, method, *arguments)

    def end_call(self) -> None:
        if self.execution is not None:
            try_cancel(self.host, self.execution, self.grace)


class SpawnSink(UnattendedSink):
    """Fills a :class:`SpawnInfo` from the events of its call."""

    def __init__(
        self,
        info: SpawnInfo,
        future: SpawnFuture,
        opener: Opener,
        answer: Callable[[HomeCall, OpeningSink], None],
    ) -> None:
        super().__init__(opener, answer)
        self.info = info
        self._future = future
        self._items: list[Any] | None = None
        self._owed = 0
        self._lock = threading.Lock()

    def follow(self, execution: Execution) -> None:
        super().follow(execution)
        self._give_credit()

    def on_state(self, state: State) -> None:
        if state.name == "running":
            self._future.has_begun = True

    def on_log(self, log: Log) -> None:
        # The queue holds whole lines.
        if not log.partial:
            self.info.logs.put(log)

    def on_ready(self, ready: Ready) -> None:
        self.info.urls = ready.urls
        self.info.url = ready.urls.get("run") or next(iter(ready.urls.values()), None)

    def on_item(self, item: Item) -> None:
        if self._items is None:
            self._items = []
        self._items.append(self.opener.open_value(item.sealed))
        with self._lock:
            self._owed += 1
        self._give_credit()

    def on_exited(self, exited: Exited) -> None:
        super().on_exited(exited)
        try:
            value = self.result()
            if self._items is not None:
                value = self._items
        except BaseException as error:
            self._future.settle(None, trim(error))
        else:
            self._future.settle(value)
        self._items = None
        # Threads that wait for a url learn that there will be none.
        self.info._url_ready.set()

    def _give_credit(self) -> None:
        if self.execution is None:
            return
        with self._lock:
            owed, self._owed = self._owed, 0
        if owed:
            send(self, Credit(owed))


def spawn(
    launcher: Launcher,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    lifetime: Lifetime = "attached",
) -> SpawnInfo:
    """
    Launch a call and return what it can be followed by.

    The result of a generator function is the list of what it yields.

    Raises:
        UnsupportedError: The host detaches no work, and *lifetime* asks for that.
    """
    if lifetime == "detached":
        check_detaching(launcher.host)
    future = SpawnFuture()
    future.grace, future.host = launcher.policy.grace, launcher.opener.host
    info = SpawnInfo(future)
    sink = SpawnSink(info, future, launcher.opener, launcher.answer)
    stream = launcher.declaration.is_generator
    call = launcher.call((args, kwargs), stream=stream, lifetime=lifetime)
    # The host itself keeps the deadline and the attempts of detached work.
    launch = launcher.launch_detached if lifetime == "detached" else launcher.launch
    future.execution = info.stream = launch(call, sink)
    sink.follow(future.execution)
    if lifetime == "attached":
        from fal_core.calling.program_ends import Ending, program_end

        ending = Ending(
            name=launcher.declaration.name,
            can_detach=launcher.host.capabilities.detach,
            is_service=launcher.declaration.is_service,
            is_application=call.application,
        )
        program_end.name_at_end(info, ending)
    return info
