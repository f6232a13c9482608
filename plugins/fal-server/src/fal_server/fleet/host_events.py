"""Host events: what a runner learns from the host that it was launched on."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from fal_core.events import Event, Exited, Log, Outcome, Ready, State
from fal_core.sinks import CallSink
from fal_server.fleet.endings import AgentError, PrintedErrors, read_agent_error
from fal_server.fleet.states import Lifecycle, RunnerPhase
from fal_server.logs.runner_lines import RunnerLines

_STARTING = {"building": RunnerPhase.BUILDING, "starting": RunnerPhase.SETUP}

#: The most events of one runner that wait for the loop. Its host waits with further ones,
#: and its functions with printing.
_MOST = 1000
#: The most of them that are handled before other work of the loop has its turn.
_AT_ONCE = 100
#: Seconds between two checks whether the loop has ended.
_LOOK = 1.0


class HostEvents(CallSink):
    """
    The sink of a runner. It is called on the loop of the server.

    Arguments:
        lines: Takes what the runner prints.

        lifecycle: Enters the states of a runner that starts.

        take_urls: Called with the URLs that the host reports.

        end: Called when the runner has exited.

    Attributes:
        raised: What the agent itself has raised. None where it has raised nothing.

        printed: The exceptions that the runner has printed.
    """

    def __init__(
        self,
        lines: RunnerLines,
        lifecycle: Lifecycle,
        take_urls: Callable[[Mapping[str, str]], None],
        end: Callable[[Exited], None],
    ) -> None:
        self.raised: AgentError | None = None
        self.printed = PrintedErrors()
        self._lines = lines
        self._lifecycle = lifecycle
        self._take_urls = take_urls
        self._end = end

    def fail(self, error: BaseException) -> None:
        # The loop reports it, and the events that follow are handled.
        raise error

    def on_log(self, log: Log) -> None:
        if not log.partial:
            self.printed.take(log.message)
        self._lines.take(log)

    def on_state(self, state: State) -> None:
        if state.name in _STARTING:
            self._lifecycle.enter(_STARTING[state.name])

    def on_ready(self, ready: Ready) -> None:
        self._take_urls(ready.urls)

    def on_outcome(self, outcome: Outcome) -> None:
        self.raised = None
        if outcome.raised:
            error = read_agent_error(outcome.sealed, self.printed.last)
            self.raised = None if error.is_reported else error

    def on_exited(self, exited: Exited) -> None:
        self._end(exited)


class EventIntake:
    """
    Hands the events of one runner to the loop of the server, as fast as that handles them.

    Arguments:
        handle: Called on the loop with each event.

        admit: Returns which events to handle in place of one that has come.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        handle: Callable[[Event], None],
        admit: Callable[[Event], Iterable[Event]],
    ) -> None:
        self._loop = loop
        self._handle = handle
        self._admit = admit
        # Faster than a semaphore, as most events find room.
        self._waiting: deque[Event] = deque()
        self._is_scheduled = False
        self._has_room = threading.Event()

    def __call__(self, event: Event) -> None:
        """Take *event*; in a thread of a host, wait until there is room for it."""
        for each in self._admit(event):
            self._hand_over(each)

    def _hand_over(self, event: Event) -> None:
        try:
            if self._is_on_loop():
                schedule = self._loop.call_soon
            else:
                schedule = self._loop.call_soon_threadsafe
                if not self._wait_for_room():
                    return
            self._waiting.append(event)
            # Most events come in bursts, and each wake of the loop costs more than they do.
            if not self._is_scheduled:
                self._is_scheduled = True
                schedule(self._handle_waiting)
        except RuntimeError:
            # The control plane has ended; the next one finds detached runners again.
            pass

    def _wait_for_room(self) -> bool:
        """Return whether there is room for an event, which there never is once the loop has ended."""
        while len(self._waiting) >= _MOST:
            if self._loop.is_closed():
                return False
            self._has_room.clear()
            # There may be room since then, which nobody would tell again.
            if len(self._waiting) >= _MOST:
                self._has_room.wait(_LOOK)
        return True

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _handle_waiting(self) -> None:
        # What comes from now on is handled below, or schedules this again.
        self._is_scheduled = False
        try:
            for _ in range(_AT_ONCE):
                if not self._waiting:
                    break
                self._handle(self._waiting.popleft())
        finally:
            if not self._has_room.is_set():
                self._has_room.set()
            if self._waiting and not self._is_scheduled:
                self._is_scheduled = True
                self._loop.call_soon(self._handle_waiting)
