"""
Host events: what a runner learns from the host that it was launched on.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from fal_core.events import Event, Exited, Log, Outcome, Ready, State
from fal_core.sinks import CallSink
from fal_server.fleet.endings import AgentError, read_agent_error
from fal_server.fleet.states import Lifecycle, RunnerPhase
from fal_server.logs.runner_lines import RunnerLines

_STARTING = {"building": RunnerPhase.BUILDING, "starting": RunnerPhase.SETUP}

#: The most events of one runner that wait for the loop. Its host waits with further ones,
#: and its functions with printing.
_MOST = 1000
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
    """

    def __init__(
        self,
        lines: RunnerLines,
        lifecycle: Lifecycle,
        take_urls: Callable[[Mapping[str, str]], None],
        end: Callable[[Exited], None],
    ) -> None:
        self.raised: AgentError | None = None
        self._lines = lines
        self._lifecycle = lifecycle
        self._take_urls = take_urls
        self._end = end

    def fail(self, error: Exception) -> None:
        # The loop reports it, and the events that follow are handled.
        raise error

    def on_log(self, log: Log) -> None:
        self._lines.take(log)

    def on_state(self, state: State) -> None:
        if state.name in _STARTING:
            self._lifecycle.enter(_STARTING[state.name])

    def on_ready(self, ready: Ready) -> None:
        self._take_urls(ready.urls)

    def on_outcome(self, outcome: Outcome) -> None:
        self.raised = read_agent_error(outcome.sealed) if outcome.raised else None

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
        self._has_room = threading.Event()

    def __call__(self, event: Event) -> None:
        """
        Take *event*; in a thread of a host, wait until there is room for it.
        """
        for each in self._admit(event):
            self._hand_over(each)

    def _hand_over(self, event: Event) -> None:
        try:
            if self._is_on_loop():
                self._loop.call_soon(self._handle, event)
                return
            while len(self._waiting) >= _MOST:
                self._has_room.clear()
                # There may be room since then, which nobody would tell again.
                is_full = len(self._waiting) >= _MOST
                if is_full and not self._has_room.wait(_LOOK) and self._loop.is_closed():
                    return
            self._waiting.append(event)
            self._loop.call_soon_threadsafe(self._handle_next)
        except RuntimeError:
            # The control plane has ended; the next one finds detached runners again.
            pass

    def _is_on_loop(self) -> bool:
        try:
            return asyncio.get_running_loop() is self._loop
        except RuntimeError:
            return False

    def _handle_next(self) -> None:
        event = self._waiting.popleft()
        if not self._has_room.is_set():
            self._has_room.set()
        self._handle(event)
