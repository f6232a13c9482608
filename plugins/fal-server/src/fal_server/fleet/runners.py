"""Runners: agents that were launched on a host."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any

import attrs

from fal_core.errors import FalCoreError
from fal_core.events import Exited
from fal_core.hosts import Execution
from fal_server.fleet.call_outcomes import CallOutcome
from fal_server.fleet.endings import (
    LONGEST_REASON,
    RunnerLost,
    describe_exit,
    describe_outcome,
    make_lines,
)
from fal_server.fleet.host_events import EventIntake, HostEvents
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import (
    LONGEST_HEAD,
    BrokenUpstream,
    TooLarge,
    UnreachedUpstream,
    Upstream,
)
from fal_server.fleet.placing.ways import Way, is_url
from fal_server.fleet.states import ENDING, Lifecycle, RunnerPhase
from fal_server.limits import Limits
from fal_server.logs.line_rates import LineRate
from fal_server.logs.log_lines import LogLine
from fal_server.logs.logs import Logs
from fal_server.logs.runner_lines import NEEDED, RunnerLines
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.state.tasks import Tasks
from fal_server_agent.messages import TOKEN_HEADER

#: Seconds after which an agent that does not answer a ping is taken for dead.
_SILENCE = 5.0


@attrs.define(eq=False)
class AgentClient:
    """
    Sends requests to the agent of one runner.

    Attributes:
        url: Where the agent listens. None until it does.
    """

    _http: HttpClient
    _token: str = attrs.field(repr=False)
    url: str | None = attrs.field(default=None, init=False)
    _known: asyncio.Event = attrs.field(factory=asyncio.Event, init=False, repr=False)

    def listens_at(self, url: str) -> None:
        """Note where the agent listens."""
        self.url = url
        self._known.set()

    def close(self) -> None:
        """Let those go on who wait for an agent that has ended."""
        self._known.set()

    async def wait(self) -> bool:
        """Wait until the agent listens; return False if it ended before it did."""
        await self._known.wait()
        return self.url is not None

    def ask(
        self,
        path: str,
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        seconds: float | None = None,
    ) -> AbstractAsyncContextManager[Upstream]:
        """Send a request to the agent, as in :meth:`HttpClient.ask`."""
        headers = {TOKEN_HEADER: self._token}
        url = self.url or ""
        return self._http.ask("POST", url, path, headers=headers, body=body, seconds=seconds)

    async def ping(self) -> None:
        """
        Return once the agent has answered.

        Raises:
            UnreachedUpstream: It takes no connection.

            asyncio.TimeoutError: It does not answer in time.

            OSError: The connection broke.
        """
        async with self.ask("/ping", seconds=_SILENCE) as upstream:
            try:
                await upstream.read(LONGEST_HEAD)
            except TooLarge as error:
                raise BrokenUpstream(f"Its answer is no ping: {error}.") from error


logger = logging.getLogger(__name__)

#: Seconds that the agent may take to report how its function ended after the runner has
#: exited: on a busy machine the report is late, and nothing else brings it.
_LAST_WORDS = 20.0

#: Seconds that a host may take to end a runner, before nobody waits for that any longer.
_LONGEST_END = 60.0


@attrs.define(eq=False)
class Runner:
    """
    One agent, from its launch to its end.

    Attributes:
        tasks: What runs in the background for it, until the server closes.

        echoes: Callbacks for its log lines, by the id of a request, or by its application.

        lines: What it prints.

        take: Takes the events of its host, in any thread.

        lifecycle: Its state, and how it may change.

        agent: Sends requests to its agent.

        url: The URL of what it serves. None until it serves.

        reason: Why it has ended, as a sentence. Empty where it was told to end.

        cause: The exception behind *reason*. None where there is none.

        traceback: That of the exception with which it has ended. Empty where there is none.

        released: Called when a request has given its place back.

        failed_checks: How many health checks it has failed in a row.

        requests: The leases of its requests, by the ids of the requests.

        is_replaced: Whether another one takes its place, as something is wrong with it.

        serving: The task that has it serve an application; None for a runner of functions.

        largest_result: The largest message that its agent may send, in bytes.

        is_url: Tells whether a URL that it reports may lead to it.

        way: How the runners of its host are reached, once it has one.
    """

    id: str
    spec: RunnerSpec
    token: str = attrs.field(repr=False)
    logs: Logs = attrs.field(repr=False)
    loop: asyncio.AbstractEventLoop = attrs.field(repr=False)
    http: HttpClient = attrs.field(repr=False)
    tasks: Tasks = attrs.field(repr=False)
    changed: Callable[[Runner], None] = attrs.field(repr=False)
    echoes: Mapping[str, Callable[[LogLine], None]] = attrs.field(repr=False)
    url: str | None = None
    reason: str = ""
    cause: FalCoreError | None = None
    traceback: str = attrs.field(default="", init=False, repr=False)
    started_at: float = attrs.field(factory=time.time)
    ended_at: float | None = None
    in_flight: int = 0
    idle_since: float = attrs.field(factory=time.monotonic)
    running_since: float | None = None
    released: Callable[[], None] | None = attrs.field(default=None, repr=False)
    failed_checks: int = 0
    is_replaced: bool = False
    revision: str = ""
    largest_result: int = Limits().largest_result
    is_url: Callable[[object], bool] = attrs.field(default=is_url, repr=False)
    requests: dict[str, Any] = attrs.field(factory=dict, repr=False)
    way: Way = attrs.field(factory=Way)
    lifecycle: Lifecycle = attrs.field(init=False)
    agent: AgentClient = attrs.field(init=False, repr=False)
    lines: RunnerLines = attrs.field(init=False, repr=False)
    take: EventIntake = attrs.field(init=False, repr=False)
    outcome: asyncio.Future[CallOutcome] = attrs.field(init=False, repr=False)
    ended: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)
    ready: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)
    execution: Execution | None = attrs.field(default=None, repr=False)
    serving: asyncio.Future[None] | None = attrs.field(default=None, repr=False)
    _began: float = attrs.field(factory=time.monotonic, init=False, repr=False)
    _ended: float | None = attrs.field(default=None, init=False, repr=False)
    _examining: asyncio.Future[None] | None = attrs.field(default=None, repr=False)
    _events: HostEvents = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.lifecycle = Lifecycle(lambda: self.changed(self))
        self.agent = AgentClient(self.http, self.token)
        self.outcome = self.loop.create_future()
        self.lines = RunnerLines(self.id, self.spec, self.logs, self.echoes)
        self._events = HostEvents(self.lines, self.lifecycle, self.take_urls, self._end)
        rate = LineRate(self.logs.limits.line_rate, NEEDED)
        self.take = EventIntake(self.loop, self._events, rate.admit)

    @property
    def state(self) -> RunnerPhase:
        """How far it is."""
        return self.lifecycle.state

    @property
    def label(self) -> str:
        """The state that people are shown: a runner without requests is ``idle``."""
        is_idle = self.state is RunnerPhase.RUNNING and not self.in_flight
        return "idle" if is_idle else self.state.label

    @property
    def is_running(self) -> bool:
        """Whether it takes requests."""
        return self.state is RunnerPhase.RUNNING

    @property
    def is_alive(self) -> bool:
        """Whether it has not ended."""
        return self.state is not RunnerPhase.TERMINATED

    @property
    def uptime(self) -> float:
        """Seconds since its start, or between its start and its end."""
        return (self._ended or time.monotonic()) - self._began

    def was_started_at(self, time_of_start: float) -> None:
        """Note that an earlier server started it, at a time in seconds since the epoch."""
        self.started_at = time_of_start
        self._began = time.monotonic() - max(0.0, time.time() - time_of_start)

    @property
    def failure(self) -> str:
        """The error that its function reported instead of serving. Empty where there is none."""
        return describe_outcome(self._reported, self._events.printed.last)

    @property
    def _reported(self) -> CallOutcome | None:
        return self.outcome.result() if self.outcome.done() else None

    @property
    def why_it_ended(self) -> str:
        """Why it did not come up, as a sentence."""
        return self.reason or self.failure or "It was told to end before it was up."

    # -- events of the host ----------------------------------------------------------

    def take_urls(self, urls: Mapping[str, str]) -> None:
        """Note where its agent listens, or where it serves, as far as a function can tell."""
        if not all(map(self.is_url, urls.values())):
            self.break_off("It was ended because it has reported what is no URL.")
            return
        if "control" in urls:
            self.agent.listens_at(self.way.lead_to(urls["control"]))
        if "run" in urls:
            self.url = self.way.lead_to(urls["run"])
            self.become_ready()

    def become_ready(self) -> None:
        """Let it take requests, unless it was told to end."""
        if self.state in ENDING or self.state in (RunnerPhase.DRAINING, RunnerPhase.TERMINATED):
            return
        self.running_since = self.idle_since = time.monotonic()
        self.lifecycle.enter(RunnerPhase.RUNNING)
        self.ready.set()

    def _end(self, event: Exited) -> None:
        if event.reason is not None and not self.reason:
            self.reason, self.cause = str(event.reason)[:LONGEST_REASON], event.reason
        raised = self._events.raised
        if raised is not None and not (self.reason or self.lifecycle.was_told_to_end):
            # The agent itself failed, and not what a user had it run.
            self.reason = raised.sentence
            logger.error("Runner %s has failed: %s", self.id, self.reason)
        known = self.reason or self._reported or self.lifecycle.was_told_to_end
        if known or self.serving is None or self.serving.done() or self.agent.url is None:
            self._finish(event)
        else:
            self.tasks.spawn(self._end_once_reported(event, self.serving))

    async def _end_once_reported(self, event: Exited, serving: asyncio.Future[None]) -> None:
        """End once the agent has reported how its function ended; that may be on its way."""
        await asyncio.wait({serving}, timeout=_LAST_WORDS)
        self._finish(event)

    def _finish(self, event: Exited) -> None:
        if not self.is_alive:
            return
        self.ended_at, self._ended = time.time(), time.monotonic()
        came_up = self.lifecycle.came_up
        if not (came_up or self.reason or self.failure or self.lifecycle.was_told_to_end):
            self.reason = describe_exit(event, has_returned=self._reported is not None)
        if not self.lifecycle.was_told_to_end:
            self._log_end(self.ended_at, came_up=came_up)
        self.lifecycle.enter(RunnerPhase.TERMINATED)
        self.agent.close()
        self.ready.set()
        self.ended.set()
        self.lines.end()
        if not self.outcome.done():
            self.outcome.set_result(CallOutcome(failure=self.reason or "The runner has ended."))

    def _log_end(self, now: float, *, came_up: bool) -> None:
        sentence = self.reason or ("" if came_up else self.failure)
        if not sentence or self.lifecycle.is_blocked:
            # A server that cannot write would only let a line wait with the others.
            return
        found = (not self.reason and self._reported) or self._events.raised
        self.traceback = found.traceback if found else ""
        for line in make_lines(sentence, self.traceback, self.cause, now):
            # Clients that wait for a runner to come up get the reason in another way.
            self.lines.take(line, is_echoed=self.agent.url is not None and bool(self.reason))

    # -- requests --------------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> AbstractAsyncContextManager[Upstream]:
        """Send a request to what it serves, as in :meth:`HttpClient.ask`."""
        url = self.url or ""
        return self.http.ask(method, url, path, headers=headers, body=body, seconds=seconds)

    async def wait_for_control(self) -> None:
        """
        Wait until the agent listens.

        Raises:
            RunnerLost: It has ended before.
        """
        if not await self.agent.wait():
            raise RunnerLost(self.reason or "The runner has ended before it could start.")

    def launched(self, execution: Execution) -> None:
        """Note the execution of its host, and end it if it was told to end meanwhile."""
        self.execution = execution
        if self.state is RunnerPhase.DRAINING or self.state in ENDING:
            self._end_now()
        self.changed(self)

    def suspect(self) -> None:
        """Ping it, as a request took too long, and end it if it does not answer."""
        if self._examining is None or self._examining.done():
            self._examining = self.tasks.spawn(self._examine())

    async def _examine(self) -> None:
        try:
            await self.agent.ping()
        except (asyncio.TimeoutError, UnreachedUpstream):
            self.end_sick("It no longer answered.")
        except OSError:
            return  # Its host reports how it ended.

    def release(self) -> None:
        """Give the place of a request back."""
        self.in_flight -= 1
        if not self.in_flight:
            self.idle_since = time.monotonic()
        if self.released is not None:
            self.released()

    # -- how it is ended -------------------------------------------------------------

    def drain(self, *, is_replaced: bool = False) -> None:
        """Let it finish the requests it has, and end; after its grace period it is killed."""
        self.is_replaced = self.is_replaced or is_replaced
        if not self.lifecycle.enter(RunnerPhase.DRAINING):
            return
        if self.execution is not None:
            self.execution.drain()
        self.loop.call_later(self.spec.grace, self._end_drained)

    def _end_drained(self) -> None:
        """Kill it if it has not ended by itself, after a ping that is under way."""
        if self._examining is not None and not self._examining.done():
            self._examining.add_done_callback(lambda _: self.kill())
        else:
            self.kill()

    def kill(self) -> None:
        """End it now."""
        self._end_as(RunnerPhase.KILLED)

    def end_sick(self, reason: str) -> None:
        """End it now, because it no longer answers."""
        self.reason, self.is_replaced = reason, True
        self._end_as(RunnerPhase.SICK)

    def break_off(self, reason: str) -> None:
        """End it now, because what it sends cannot be read."""
        if self.lifecycle.came_up:
            self.end_sick(reason)
        else:
            self.give_up(reason)

    def give_up(self, reason: str, *, is_blocked: bool = False) -> None:
        """
        End it now, because it does not come up.

        Arguments:
            is_blocked: Whether the server itself is at fault, which cannot write its state.
        """
        self.reason = reason
        self._end_as(RunnerPhase.BLOCKED if is_blocked else RunnerPhase.GIVEN_UP)

    def _end_as(self, state: RunnerPhase) -> None:
        if self.lifecycle.enter(state):
            self._end_now()

    def _end_now(self) -> None:
        if self.is_alive and self.execution is not None:
            self.execution.cancel(0.0)
            self.loop.call_later(_LONGEST_END, self._finish, Exited())
