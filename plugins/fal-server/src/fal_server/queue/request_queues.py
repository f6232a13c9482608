"""
The queue: requests that are accepted now and answered later.

What was accepted is kept before its sender is told. A request whose attempt fails, or
that was with a runner when the server ended, is given to a runner once more, which its
``attempts`` tell; :mod:`fal_server.specs.request_retries` says when.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from typing import Any

import attrs
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.errors import STATE_TROUBLE, NotFound, Refusal
from fal_server.fleet.http_upstreams import BrokenUpstream
from fal_server.fleet.runners import Runner
from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.responses import RunnerResponse, ask
from fal_server.queue.webhooks import Webhooks
from fal_server.routing.applications import Application
from fal_server.routing.refusals import (
    ApplicationUnreadable,
    RequestTimeout,
    RunnerBlocked,
    RunnerDisconnected,
    describe_disconnection,
)
from fal_server.routing.routers import Router
from fal_server.state.tasks import insist, uninterrupted
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests

logger = logging.getLogger(__name__)

#: Seconds before the second attempt; before each further one it is twice as long, up to
#: the longest.
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class Failed(Refusal):
    """
    The server itself has failed.
    """

    kind = "internal_error"


@attrs.frozen(kw_only=True)
class QueueSize:
    """
    How many requests wait.

    Attributes:
        by_caller: The same by the account that has sent them.
    """

    size: int
    by_caller: Mapping[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class RequestQueue:
    """
    Accepts requests, and has runners answer them.
    """

    router: Router
    requests: QueuedRequests
    webhooks: Webhooks
    _works: dict[str, PendingRequest] = attrs.field(factory=dict)
    _number: int = 0

    async def start(self) -> None:
        """
        Go on with what was accepted before.
        """
        self._number = await self.requests.last_number()
        for request in await self.requests.unfinished():
            self._begin(PendingRequest.found_again(request))
        await self.webhooks.start()

    async def close(self) -> None:
        """
        Leave the rest to the next start.
        """
        tasks = [work.task for work in self._works.values() if work.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.webhooks.close()

    def next_number(self) -> int:
        """
        Return the number of a new request.
        """
        self._number += 1
        return self._number

    @uninterrupted
    async def submit(self, request: QueuedRequest) -> None:
        """
        Accept a request: once this returns it is answered, whatever ends meanwhile.
        """
        await self.requests.add(request)
        self._begin(PendingRequest(request))

    def position(self, request_id: str) -> int:
        """
        Return how many requests go before one that waits.
        """
        work = self._works.get(request_id)
        if work is None:
            return 0
        rank = _rank(work.request)
        return sum(
            _rank(other.request) < rank
            for other in self._works.values()
            if other.runner is None and _place(other.request) == _place(work.request)
        )

    @uninterrupted
    async def cancel(self, request: QueuedRequest) -> bool:
        """
        Cancel a request: one that waits is dropped, one that runs is told to end.

        It is False where there is an answer already.
        """
        if request.is_over:
            return False
        work = self._works.get(request.id)
        # One whose runner is gone waits for another, and was begun all the same.
        waits = work is not None and work.runner is None
        dropped = await self.requests.change(
            request.id,
            only=("queued", "running") if waits else ("queued",),
            state="cancelled",
            ended_at=time.time(),
        )
        if dropped:
            if work is not None:
                work.cancelled = True
                if work.task is not None:
                    work.task.cancel()
            return True
        if work is not None and work.runner is not None:
            work.cancelled = True
            await _tell_of_cancel(work.runner, request.id)
        return True

    def waiting_for(self) -> list[str]:
        """
        Return the application of each request that no runner has, as in ``owner/alias``.
        """
        return [
            "/".join(_place(work.request))
            for work in self._works.values()
            if work.runner is None
        ]

    async def size(self, caller: Caller, owner: str, alias: str) -> QueueSize:
        """
        Return how many requests wait for an application.

        Raises:
            NotFound: There is none that *caller* may see.
        """
        waiting = self._waiting(caller, owner, alias)
        by_caller: dict[str, int] = {}
        for work in waiting:
            by_caller[work.request.sender] = by_caller.get(work.request.sender, 0) + 1
        return QueueSize(size=len(waiting), by_caller=by_caller)

    async def flush(self, caller: Caller, owner: str, alias: str, *, sender: str | None) -> int:
        """
        Drop the requests that wait, those of *sender* alone where one is named, and
        return how many they were.

        Raises:
            NotFound: There is no such application of *caller*.
        """
        dropped = 0
        for work in self._waiting(caller, owner, alias):
            if sender is None or work.request.sender == sender:
                dropped += await self.cancel(work.request)
        return dropped

    def _waiting(self, caller: Caller, owner: str, alias: str) -> list[PendingRequest]:
        application = self.router.catalog.find(owner, alias)
        if application.owner != caller.user_id:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        return [
            work
            for work in self._works.values()
            if work.runner is None and _place(work.request) == (owner, alias)
        ]

    # -- answering -------------------------------------------------------------------------

    def _begin(self, work: PendingRequest) -> None:
        self._works[work.request.id] = work
        work.task = asyncio.ensure_future(self._answer(work))

    async def _answer(self, work: PendingRequest) -> None:
        request = work.request
        pause = _PAUSE
        try:
            if request.state == "running" and work.wants_one_attempt:
                await self._finish(work, _server_ended())
                return
            while not await self._attempt(work):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("Request %s failed", request.id)
            await self._finish(
                work, RunnerResponse.refused(Failed("An internal error occurred."))
            )
        finally:
            self._works.pop(request.id, None)

    async def _attempt(self, work: PendingRequest) -> bool:
        """
        Give a request to a runner; return False where it is to be given once more.
        """
        request = work.request
        try:
            application = self.router.catalog.find(request.owner_name, request.alias)
            answer = await self._ask(work, application)
        except (ApplicationUnreadable, RunnerBlocked, *STATE_TROUBLE):
            # It was accepted, and is begun once its application can be read again, or what
            # is begun can be written down.
            work.runner = None
            return False
        except Refusal as refusal:
            # No runner was asked.
            answer = RunnerResponse.refused(refusal)
        if answer is None:
            return True
        if answer.failed and work.may_be_begun_again(application, answer.failed):
            # It waits again, and can be dropped as any other that does.
            work.runner = None
            await insist(
                lambda: self.requests.change(request.id, only=("running",), state="queued")
            )
            return False
        await self._finish(work, answer)
        return True

    async def _ask(
        self, work: PendingRequest, application: Application
    ) -> RunnerResponse | None:
        """
        Return what a runner answers; None where the request was cancelled meanwhile.

        Raises:
            Refusal: No runner takes it.
        """
        request = work.request
        caller = None
        if request.sender:
            caller = Caller(user_id=request.sender, nickname="", permissions=frozenset())
        async with self.router.lease(
            application,
            work.headers,
            request.id,
            caller,
            request.priority,
            since=work.since,
        ) as runner:
            work.runner = runner
            attempts = request.attempts + 1
            begun = await self.requests.change(
                request.id,
                only=("queued", "running"),
                state="running",
                started_at=time.time(),
                attempts=attempts,
            )
            if not begun:
                return None
            work.request = attrs.evolve(request, attempts=attempts)
            work.begun = time.monotonic()
            try:
                return await ask(application, runner, work.request)
            except RequestTimeout as late:
                return RunnerResponse.refused(late, "timeout")
            except BrokenUpstream as error:
                refusal = await describe_disconnection(runner, error)
                ended = runner.ended.is_set()
                return RunnerResponse.refused(
                    refusal, "server_error" if ended else "connection_error"
                )

    async def _finish(self, work: PendingRequest, answer: RunnerResponse) -> None:
        now = time.time()
        values: dict[str, Any] = {
            "state": "completed",
            "ended_at": now,
            "status": answer.status,
            "answer_headers": answer.headers,
            "answer": answer.body,
            "error": answer.error,
            "error_type": answer.error_type,
            "webhook_due": now if work.request.webhook else None,
        }
        if work.begun is not None:
            # How long it took is right also where the clock was set meanwhile.
            values["started_at"] = now - (time.monotonic() - work.begun)
        # What is answered is not asked for again: it stays here until it can be kept.
        await insist(
            lambda: self.requests.change(work.request.id, only=("queued", "running"), **values)
        )
        if work.request.webhook:
            self.webhooks.tell(work.request.id)


def _server_ended() -> RunnerResponse:
    return RunnerResponse.refused(
        RunnerDisconnected("The server ended while a runner had the request.")
    )


async def _tell_of_cancel(runner: Runner, request_id: str) -> None:
    """
    Tell a runner that nobody waits for a request any more; it may go on with it.
    """
    headers = {"x-fal-request-id": request_id}
    try:
        async with runner.ask("POST", "/cancel", headers=headers, seconds=5.0) as upstream:
            await upstream.read()
    except (asyncio.TimeoutError, OSError):
        logger.info("Runner %s was not told of a cancelled request.", runner.id)


def _rank(request: QueuedRequest) -> tuple[int, int]:
    return request.priority, request.number


def _place(request: QueuedRequest) -> tuple[str, str]:
    return request.owner_name, request.alias


def may_read(application: Application, caller: Caller | None, request: QueuedRequest) -> bool:
    """
    Tell whether *caller* may see a request: who has sent it may, and the owner.
    """
    if application.auth_mode == wire.PUBLIC and not request.sender:
        return True
    return caller is not None and caller.user_id in (request.sender, application.owner)


def may_read_logs(application: Application, caller: Caller | None) -> bool:
    """
    Tell whether *caller*, who may see a request, is shown what was printed for it.
    """
    owns = caller is not None and caller.user_id == application.owner
    return owns or not application.private_logs
