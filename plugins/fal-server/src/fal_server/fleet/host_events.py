"""
Host events: what a runner learns from the host that it was launched on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from fal_core.events import Exited, Log, Outcome, Ready, State
from fal_core.sinks import CallSink
from fal_server.fleet.endings import AgentError, read_agent_error
from fal_server.fleet.lines import RunnerLines
from fal_server.fleet.states import Lifecycle, RunnerPhase

_STARTING = {"building": RunnerPhase.BUILDING, "starting": RunnerPhase.SETUP}


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
