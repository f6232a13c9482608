"""
Runners: agents that were launched on a host, and what the plane says to them.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Literal

import attrs

from fal_core.errors import FalCoreError
from fal_core.events import Event, Exited, Log, Outcome, Ready, State
from fal_core.hosts import Execution
from fal_server.fleet.endings import (
    Raised,
    RunnerLost,
    describe_exit,
    describe_outcome,
    make_lines,
    read_raised,
)
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import UnreachedUpstream, Upstream
from fal_server.fleet.lines import RunnerLines
from fal_server.fleet.outcomes import CallOutcome
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.store.logs import LogLine, Logs
from fal_server_agent.messages import TOKEN_HEADER

logger = logging.getLogger(__name__)

Phase = Literal["pending", "building", "setup", "running", "draining", "terminated"]

#: Seconds that its agent may take to tell how its function has ended: on a busy machine
#: that is late, and nothing else tells it.
_LAST_WORDS = 20.0

#: Seconds after which one is taken for dead that is asked and does not answer.
_SILENCE = 5.0


@attrs.define(eq=False)
class Runner:
    """
    One agent, from its launch to its end.

    Attributes:
        echoes: Who is told of lines at once, by the id of a request, or by the account
            and the name of an application.

        lines: What it prints.

        phase: How far it is.

        url: Where it serves. None until it does.

        reason: Why it has ended, as a sentence. Empty where it was told to end.

        cause: The same as its host says it, or whoever gave it up. None where they do
            not.

        in_flight: How many requests it has.

        released: Called when a place was given back.

        sick: Whether it has failed its health checks.

        wants_end: Whether it was told to end at once.

        gave_up: Whether it is ended since it does not come up.

        serving: What has it serve an application; None for one that is called.

        blocked: Whether it does not come up since the server itself can write nothing.
    """

    id: str
    spec: RunnerSpec
    token: str = attrs.field(repr=False)
    logs: Logs = attrs.field(repr=False)
    loop: asyncio.AbstractEventLoop = attrs.field(repr=False)
    exchanges: HttpClient = attrs.field(repr=False)
    changed: Callable[[Runner], None] = attrs.field(repr=False)
    echoes: Mapping[str, Callable[[LogLine], None]] = attrs.field(repr=False)
    phase: Phase = "pending"
    control: str | None = None
    url: str | None = None
    reason: str = ""
    cause: FalCoreError | None = None
    started_at: float = attrs.field(factory=time.time)
    ended_at: float | None = None
    in_flight: int = 0
    idle_since: float = attrs.field(factory=time.monotonic)
    running_since: float | None = None
    sick: bool = False
    released: Callable[[], None] | None = attrs.field(default=None, repr=False)
    unhealthy: int = 0
    revision: str = ""
    wants_end: bool = False
    gave_up: bool = False
    blocked: bool = False
    requests: dict[str, Any] = attrs.field(factory=dict, repr=False)
    lines: RunnerLines = attrs.field(init=False, repr=False)
    outcome: asyncio.Future[CallOutcome] = attrs.field(init=False, repr=False)
    ended: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)
    ready: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)
    execution: Execution | None = attrs.field(default=None, repr=False)
    _controlled: asyncio.Event = attrs.field(factory=asyncio.Event, repr=False)
    serving: asyncio.Task[None] | None = attrs.field(default=None, repr=False)
    _began: float = attrs.field(factory=time.monotonic, init=False, repr=False)
    _ended: float | None = attrs.field(default=None, init=False, repr=False)
    _suspected: asyncio.Task[None] | None = attrs.field(default=None, repr=False)
    _raised: Raised | None = attrs.field(default=None, init=False, repr=False)
    _ending: asyncio.Task[None] | None = attrs.field(default=None, init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        self.outcome = self.loop.create_future()
        self.lines = RunnerLines(self.id, self.spec, self.logs, self.echoes)

    @property
    def uptime(self) -> float:
        """
        How many seconds ago it was started, or how many it was there.
        """
        until = time.monotonic() if self._ended is None else self._ended
        return until - self._began

    def was_started_at(self, time_of_start: float) -> None:
        """
        Note that it was started by an earlier server, in seconds since the epoch.
        """
        self.started_at = time_of_start
        self._began = time.monotonic() - max(0.0, time.time() - time_of_start)

    @property
    def is_alive(self) -> bool:
        """
        Whether it has not ended.
        """
        return self.phase != "terminated"

    @property
    def state(self) -> str:
        """
        How far it is, as people are told: one that runs may be idle.
        """
        return "idle" if self.phase == "running" and not self.in_flight else self.phase

    @property
    def failure(self) -> str:
        """
        What its function has told instead of serving. Empty where nothing.
        """
        return describe_outcome(self._told)

    @property
    def _told(self) -> CallOutcome | None:
        return self.outcome.result() if self.outcome.done() else None

    @property
    def why_it_ended(self) -> str:
        """
        Why it did not come up, as a sentence.
        """
        return self.reason or self.failure or "It was told to end before it was up."

    # -- events of the host ----------------------------------------------------------

    def take(self, event: Event) -> None:
        """
        Take an event of the host, in any thread.
        """
        try:
            self.loop.call_soon_threadsafe(self._take, event)
        except RuntimeError:
            # The plane has ended; a detached runner is found again by the next.
            pass

    def _take(self, event: Event) -> None:
        if isinstance(event, Log):
            self.lines.take(event)
        elif isinstance(event, State):
            phases: dict[str, Phase] = {"building": "building", "starting": "setup"}
            if self.phase in ("pending", "building") and event.name in phases:
                self._enter(phases[event.name])
        elif isinstance(event, Ready):
            self.take_urls(event.urls)
        elif isinstance(event, Outcome):
            self._raised = read_raised(event.sealed) if event.raised else None
        elif isinstance(event, Exited):
            self._end(event)

    def take_urls(self, urls: Mapping[str, str]) -> None:
        """
        Note where its agent listens, or where it serves.
        """
        if "control" in urls:
            self.control = urls["control"]
            self._controlled.set()
        if "run" in urls:
            self.url = urls["run"]
            self.become_ready()

    def become_ready(self) -> None:
        """
        Let it take requests.
        """
        if self.phase in ("draining", "terminated"):
            return
        self.running_since = self.idle_since = time.monotonic()
        self._enter("running")
        self.ready.set()

    def _end(self, event: Exited) -> None:
        if event.reason is not None and not self.reason:
            self.reason, self.cause = str(event.reason), event.reason
        if self._raised is not None and not (self.reason or self._was_told_to_end):
            # What is sent first is the plane's own, and no user's.
            self.reason = self._raised.sentence
            logger.error("Runner %s has failed: %s", self.id, self.reason)
        listens = self.control is not None and self.serving is not None
        if listens and not (self.reason or self._told or self._was_told_to_end):
            self._ending = self.loop.create_task(self._end_once_told(event))
        else:
            self._finish(event)

    async def _end_once_told(self, event: Exited) -> None:
        """
        End once its agent has told how its function has ended, which may be on its way.
        """
        assert self.serving is not None
        await asyncio.wait({self.serving}, timeout=_LAST_WORDS)
        self._finish(event)

    def _finish(self, event: Exited) -> None:
        if not self.is_alive:
            return
        self.ended_at, self._ended = time.time(), time.monotonic()
        came_up = self.running_since is not None
        if not (came_up or self.reason or self.failure or self._was_told_to_end):
            self.reason = describe_exit(event, has_returned=self._told is not None)
        if self.sick or not self._was_told_to_end:
            self._log_end(self.ended_at, came_up=came_up)
        self._enter("terminated")
        for waiting in (self.ready, self._controlled, self.ended):
            waiting.set()
        self.lines.end()
        if not self.outcome.done():
            self.outcome.set_result(CallOutcome(failure=self.reason or "The runner has ended."))

    @property
    def _was_told_to_end(self) -> bool:
        return self.wants_end or self.phase == "draining"

    def _log_end(self, now: float, *, came_up: bool) -> None:
        # Where the server can write nothing, a line would only wait with the others.
        sentence = "" if self.blocked else self.reason or ("" if came_up else self.failure)
        if not sentence:
            return
        traceback = self._raised.traceback if self._raised is not None else ""
        if self._told is not None and not self.reason:
            traceback = self._told.traceback
        for line in make_lines(sentence, traceback, self.cause, now):
            # Why one has not come up is also told by who wanted it.
            self.lines.take(line, is_echoed=self.control is not None and bool(self.reason))

    def _enter(self, phase: Phase) -> None:
        if phase != self.phase:
            self.phase = phase
            self.changed(self)

    # -- what it is told -------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> AbstractAsyncContextManager[Upstream]:
        """
        Ask what it serves for something, as in :meth:`HttpClient.ask`.
        """
        url = self.url or ""
        return self.exchanges.ask(
            method, url, path, headers=headers, body=body, seconds=seconds
        )

    def tell(
        self, path: str, body: bytes | None = None, *, seconds: float | None = None
    ) -> AbstractAsyncContextManager[Upstream]:
        """
        Tell its agent something, as in :meth:`HttpClient.ask`.
        """
        headers = {TOKEN_HEADER: self.token}
        url = self.control or ""
        return self.exchanges.ask(
            "POST", url, path, headers=headers, body=body, seconds=seconds
        )

    async def wait_for_control(self) -> None:
        """
        Wait until the agent listens.

        Raises:
            RunnerLost: It has ended before.
        """
        await self._controlled.wait()
        if self.control is None:
            raise RunnerLost(self.reason or "The runner has ended before it could start.")

    def launched(self) -> None:
        """
        Act on what it was told before its host had it.
        """
        if self.phase == "draining" or self.wants_end or self.gave_up:
            self._end_now()
        self.changed(self)

    def suspect(self) -> None:
        """
        See whether it still lives, as it let a request take too long; one that does not
        answer is ended.
        """
        if self._suspected is None or self._suspected.done():
            self._suspected = self.loop.create_task(self._examine())

    async def _examine(self) -> None:
        try:
            await self.ping()
        except (asyncio.TimeoutError, UnreachedUpstream):
            self.reason = "It no longer answered."
            self.sick = True
            self.kill()
        except OSError:
            # Its end is told by its host.
            return

    async def ping(self) -> None:
        """
        Return once its agent has answered; an error of the exchange says that it does not.
        """
        async with self.tell("/ping", seconds=_SILENCE) as upstream:
            await upstream.read()

    def release(self) -> None:
        """
        Give a place back.
        """
        self.in_flight -= 1
        if not self.in_flight:
            self.idle_since = time.monotonic()
        if self.released is not None:
            self.released()

    def drain(self) -> None:
        """
        Let it finish what it has, and end.
        """
        if self.phase in ("draining", "terminated"):
            return
        self._enter("draining")
        if self.execution is not None:
            self.execution.drain()
        self.loop.call_later(self.spec.grace, self._end_drained)

    def _end_drained(self) -> None:
        """
        End what has not ended by itself, once it is known whether it still answers.
        """
        if self._suspected is not None and not self._suspected.done():
            self._suspected.add_done_callback(lambda _: self.kill())
        else:
            self.kill()

    def kill(self) -> None:
        """
        End it now.
        """
        self.wants_end = True
        self._end_now()

    def give_up(self, reason: str) -> None:
        """
        End one that does not come up; *reason* says why.
        """
        self.reason, self.gave_up = reason, True
        self._end_now()

    def _end_now(self) -> None:
        if self.is_alive and self.execution is not None:
            self.execution.cancel(0.0)
