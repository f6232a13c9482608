"""
The queue: requests that are accepted now and answered later.

A request is stored before its sender gets a response. If an attempt fails, or the server
ends while a runner has the request, it is given to a runner again, and ``attempts`` counts
up. :mod:`fal_server.specs.request_retries` decides whether there is another attempt.
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
from fal_server.queue.queue_orders import QueueOrder
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
from fal_server.store.idempotency_keys import IdempotencyKey
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests

logger = logging.getLogger(__name__)

#: Seconds before the second attempt. The pause doubles before each further attempt, up to
#: the longest.
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class InternalError(Refusal):
    """
    An error in the server itself.
    """

    kind = "internal_error"


@attrs.frozen(kw_only=True)
class QueueSize:
    """
    The number of requests that wait.

    Attributes:
        by_caller: The number of requests by the account that sent them.
    """

    size: int
    by_caller: Mapping[str, int] = attrs.field(factory=dict)


@attrs.define(eq=False)
class RequestQueue:
    """
    Accepts requests, and gives them to runners.
    """

    router: Router
    requests: QueuedRequests
    webhooks: Webhooks
    _pending: dict[str, PendingRequest] = attrs.field(factory=dict)
    _order: QueueOrder = attrs.field(factory=QueueOrder)
    _number: int = 0

    async def start(self) -> None:
        """
        Resume the requests and the webhooks that an earlier server left.
        """
        self._number = await self.requests.last_number()
        for request in await self.requests.unfinished():
            self._start_processing(PendingRequest.restore(request))
        await self.webhooks.start()

    async def close(self) -> None:
        """
        Stop working on requests and webhooks. The next server resumes them.
        """
        tasks = [pending.task for pending in self._pending.values() if pending.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self.webhooks.close()

    def next_number(self) -> int:
        """
        Return the number for a new request.
        """
        self._number += 1
        return self._number

    @uninterrupted
    async def submit(self, request: QueuedRequest, key: IdempotencyKey | None = None) -> str:
        """
        Accept a request, and return its id. Once this returns, the request is stored, and is
        answered even if the server ends before that. If a request was accepted with *key*
        before, return the id of that one.

        Raises:
            KeyReused: That one was another request.
        """
        accepted = await self.requests.add(request, key)
        if accepted == request.id:
            self._start_processing(PendingRequest(request))
        return accepted

    def position(self, request_id: str) -> int:
        """
        Return how many requests to the same application are ahead of one that waits.
        """
        pending = self._pending.get(request_id)
        if pending is None:
            return 0
        return self._order.position(pending.request)

    @uninterrupted
    async def cancel(self, request: QueuedRequest) -> bool:
        """
        Cancel a request: drop it if it waits, or tell its runner. Return False if it has
        ended already.
        """
        if request.is_over:
            return False
        pending = self._pending.get(request.id)
        # A request that waits for its next attempt may still be stored as running.
        waits = pending is not None and pending.runner is None
        dropped = await self.requests.change(
            request.id,
            only=("queued", "running") if waits else ("queued",),
            state="cancelled",
            ended_at=time.time(),
        )
        if dropped:
            if pending is not None:
                pending.cancelled = True
                if pending.task is not None:
                    pending.task.cancel()
            return True
        if pending is not None and pending.runner is not None:
            pending.cancelled = True
            await _notify_cancelled(pending.runner, request.id)
        return True

    def waiting(self) -> Mapping[str, int]:
        """
        Return how many requests wait for a runner, by ``owner/alias`` of the application.
        """
        return {"/".join(name): count for name, count in self._order.counts()}

    async def size(self, caller: Caller, owner: str, alias: str) -> QueueSize:
        """
        Return how many requests to an application wait.

        Raises:
            NotFound: *caller* has no such application.
        """
        waiting = self._waiting_for(caller, owner, alias)
        by_caller: dict[str, int] = {}
        for pending in waiting:
            by_caller[pending.request.sender] = by_caller.get(pending.request.sender, 0) + 1
        return QueueSize(size=len(waiting), by_caller=by_caller)

    async def flush(self, caller: Caller, owner: str, alias: str, *, sender: str | None) -> int:
        """
        Drop the requests to an application that wait, and return how many were dropped.

        Arguments:
            sender: The account whose requests to drop. None drops those of all.

        Raises:
            NotFound: *caller* has no such application.
        """
        dropped = 0
        for pending in self._waiting_for(caller, owner, alias):
            if sender is None or pending.request.sender == sender:
                dropped += await self.cancel(pending.request)
        return dropped

    def _waiting_for(self, caller: Caller, owner: str, alias: str) -> list[PendingRequest]:
        application = self.router.catalog.find(owner, alias)
        if application.owner != caller.user_id:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        return [self._pending[id] for id in self._order.of(owner, alias)]

    # -- answering -------------------------------------------------------------------------

    def _start_processing(self, pending: PendingRequest) -> None:
        self._pending[pending.request.id] = pending
        self._order.add(pending.request)
        pending.task = asyncio.ensure_future(self._process(pending))
        # Not at the end of its code, which a task that is cancelled at once never runs.
        pending.task.add_done_callback(lambda _: self._forget(pending))

    async def _process(self, pending: PendingRequest) -> None:
        request = pending.request
        pause = _PAUSE
        try:
            if request.state == "running" and pending.wants_one_attempt:
                await self._finish(pending, _interrupted())
                return
            while not await self._attempt(pending):
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except asyncio.CancelledError:
            raise
        except Exception:
            logger.exception("Request %s failed", request.id)
            await self._finish(
                pending,
                RunnerResponse.from_refusal(InternalError("An internal error occurred.")),
            )

    def _forget(self, pending: PendingRequest) -> None:
        self._order.discard(pending.request)
        self._pending.pop(pending.request.id, None)

    async def _attempt(self, pending: PendingRequest) -> bool:
        """
        Give a request to a runner. Return False if it needs another attempt.
        """
        request = pending.request
        try:
            application = self.router.catalog.find(request.owner_name, request.alias)
            response = await self._ask(pending, application)
        except (ApplicationUnreadable, RunnerBlocked, *STATE_TROUBLE):
            # It was accepted, so it waits until its application can be read again, or the
            # state can be written.
            self._wait_again(pending)
            return False
        except Refusal as refusal:
            # No runner has got the request.
            response = RunnerResponse.from_refusal(refusal)
        if response is None:
            return True
        if response.failed and pending.may_retry(application, response.failed):
            # It can be cancelled like any other that waits.
            self._wait_again(pending)
            await insist(
                lambda: self.requests.change(request.id, only=("running",), state="queued")
            )
            return False
        await self._finish(pending, response)
        return True

    async def _ask(
        self, pending: PendingRequest, application: Application
    ) -> RunnerResponse | None:
        """
        Return the response of a runner, or None if the request was cancelled before the
        runner got it.

        Raises:
            Refusal: No runner takes the request.
        """
        request = pending.request
        caller = None
        if request.sender:
            caller = Caller(user_id=request.sender, nickname="", permissions=frozenset())
        async with self.router.lease(
            application,
            pending.headers,
            request.id,
            caller,
            request.priority,
            since=pending.since,
        ) as runner:
            pending.runner = runner
            self._order.discard(request)
            attempts = request.attempts + 1
            is_running = await self.requests.change(
                request.id,
                only=("queued", "running"),
                state="running",
                started_at=time.time(),
                attempts=attempts,
            )
            if not is_running:
                return None
            pending.request = attrs.evolve(request, attempts=attempts)
            pending.attempted_at = time.monotonic()
            try:
                return await ask(application, runner, pending.request)
            except RequestTimeout as timeout:
                return RunnerResponse.from_refusal(timeout, "timeout")
            except BrokenUpstream as error:
                refusal = await describe_disconnection(runner, error)
                ended = runner.ended.is_set()
                return RunnerResponse.from_refusal(
                    refusal, "server_error" if ended else "connection_error"
                )

    def _wait_again(self, pending: PendingRequest) -> None:
        pending.runner = None
        self._order.add(pending.request)

    async def _finish(self, pending: PendingRequest, response: RunnerResponse) -> None:
        now = time.time()
        values: dict[str, Any] = {
            "state": "completed",
            "ended_at": now,
            "status": response.status,
            "answer_headers": response.headers,
            "answer": response.body,
            "error": response.error,
            "error_type": response.error_type,
            "webhook_due": now if pending.request.webhook else None,
        }
        if pending.attempted_at is not None:
            # So the duration is right even if the clock was changed in between.
            values["started_at"] = now - (time.monotonic() - pending.attempted_at)
        # Repeat the write until it succeeds: a request with a response is not sent again.
        await insist(
            lambda: self.requests.change(
                pending.request.id, only=("queued", "running"), **values
            )
        )
        if pending.request.webhook:
            self.webhooks.deliver(pending.request.id)


def _interrupted() -> RunnerResponse:
    return RunnerResponse.from_refusal(
        RunnerDisconnected("The server ended while a runner had the request.")
    )


async def _notify_cancelled(runner: Runner, request_id: str) -> None:
    """
    Tell a runner that a request was cancelled. It may finish it all the same.
    """
    headers = {"x-fal-request-id": request_id}
    try:
        async with runner.ask("POST", "/cancel", headers=headers, seconds=5.0) as upstream:
            await upstream.read()
    except (asyncio.TimeoutError, OSError):
        logger.info("Could not tell runner %s to cancel request %s.", runner.id, request_id)


def may_read(application: Application, caller: Caller | None, request: QueuedRequest) -> bool:
    """
    Return whether *caller* may see a request: its sender and the owner of the application
    may, and anybody may see an anonymous request to a public application.
    """
    if application.auth_mode == wire.PUBLIC and not request.sender:
        return True
    return caller is not None and caller.user_id in (request.sender, application.owner)


def may_read_logs(application: Application, caller: Caller | None) -> bool:
    """
    Return whether *caller*, who may see a request, may also read its log lines.
    """
    owns = caller is not None and caller.user_id == application.owner
    return owns or not application.private_logs
