"""Attempts: giving a queued request to runners until there is a response for its sender."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable

import attrs

from fal_core.events import Log
from fal_server.access.callers import Caller
from fal_server.errors import STATE_TROUBLE, Fenced, Refusal
from fal_server.fleet.http_upstreams import BrokenUpstream
from fal_server.fleet.runners import Runner
from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.responses import RunnerResponse, ask
from fal_server.routing.applications import Application
from fal_server.routing.refusals import (
    ApplicationUnreadable,
    RequestTimeout,
    RunnerBlocked,
    RunnerDisconnected,
    describe_disconnection,
)
from fal_server.routing.routers import Router
from fal_server.state.bodies import BodyFiles
from fal_server.state.disk_reserves import DiskReserve
from fal_server.state.tasks import insist
from fal_server.store.queued_requests import QueuedRequests, name_answer, name_body
from fal_server.telemetry.contexts import MakeSpan, no_span

logger = logging.getLogger(__name__)

#: Seconds before the second attempt. The pause doubles before each further attempt, up to
#: the longest.
_PAUSE, _LONGEST_PAUSE = 0.1, 5.0


class InternalError(Refusal):
    """An error in the server itself."""

    kind = "internal_error"


@attrs.define(eq=False)
class Attempts:
    """
    Has runners answer requests.

    Arguments:
        largest: The most bytes of a response.

        reserve: What responses to requests without a key leave free on the disk.

        taken: Called with a request that a runner has got.

        returned: Called with a request that waits for another attempt.

        make_span: Makes a span of each attempt.
    """

    router: Router
    requests: QueuedRequests
    files: BodyFiles
    largest: int
    reserve: DiskReserve
    taken: Callable[[PendingRequest], None]
    returned: Callable[[PendingRequest], None]
    make_span: MakeSpan = no_span

    async def answer(self, pending: PendingRequest) -> RunnerResponse | None:
        """
        Return the response to a request. None if it was cancelled, or another replica has it
        answered.
        """
        try:
            if pending.loaded.state == "running" and pending.wants_one_attempt:
                return _interrupted()
            pause = _PAUSE
            while True:
                is_over, response = await self._attempt(pending)
                if is_over:
                    return response
                await asyncio.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
        except Fenced:
            return None
        except Exception:
            logger.exception("Request %s failed", pending.id)
            return RunnerResponse.from_refusal(InternalError("An internal error occurred."))

    async def _attempt(self, pending: PendingRequest) -> tuple[bool, RunnerResponse | None]:
        """
        Give a request to a runner. Return whether it needs no other attempt, and the
        response if there is one.
        """
        request = pending.loaded
        try:
            application = self.router.catalog.find(request.owner_name, request.alias)
            response = await self._ask(pending, application)
        except (ApplicationUnreadable, RunnerBlocked, *STATE_TROUBLE):
            # It was accepted, so it waits until its application can be read again, or the
            # state can be written.
            self._wait_again(pending)
            return False, None
        except Refusal as refusal:
            # No runner has got the request, or none has a response that can be kept.
            return True, RunnerResponse.from_refusal(refusal)
        if response is None:
            return True, None
        if response.failed and pending.may_retry(application, response.failed):
            response.discard()
            # It can be cancelled like any other that waits.
            self._wait_again(pending)
            await insist(
                lambda: self.requests.change(request.id, only=("running",), state="queued")
            )
            return False, None
        return True, response

    async def _ask(
        self, pending: PendingRequest, application: Application
    ) -> RunnerResponse | None:
        """
        Return the response of a runner, or None if the request was cancelled before the
        runner got it.

        Raises:
            Refusal: No runner takes the request, or its response is too large.
        """
        request = pending.loaded
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
            self.taken(pending)
            _tell_wait(pending, runner)
            attempts = request.attempts + 1
            content = await self.requests.begin(request.id, attempts=attempts)
            if content is None:
                return None
            pending.request = attrs.evolve(request, attempts=attempts)
            pending.attempted_at = time.monotonic()
            facts = {
                "fal.application": f"{application.owner_name}/{application.alias}",
                "fal.attempt": attempts,
            }
            with self.make_span("queue", pending.headers, facts, kind="CONSUMER") as finish:
                response = await self._exchange(pending, application, runner, content)
                finish(response.status, request.id)
                return response

    async def _exchange(
        self, pending: PendingRequest, application: Application, runner: Runner, content: bytes
    ) -> RunnerResponse:
        request = pending.loaded
        body = self.files.find(name_body(request.id), request.body_size, content)
        name = name_answer(request.id, request.attempts)
        reserve = None if request.sender else self.reserve
        with self.files.receive(
            name, largest=self.largest, patient=True, reserve=reserve
        ) as incoming:
            try:
                return await ask(application, runner, request, body, incoming)
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
        self.returned(pending)


def _tell_wait(pending: PendingRequest, runner: Runner) -> None:
    """Write into the log of a request for which devices its runner has waited meanwhile."""
    turn = runner.lifecycle.turn
    if turn is not None and turn.reason and pending.since < turn.granted_at:
        line = Log(turn.waited, "INFO", "BRIDGE", time.time(), request_id=pending.id)
        runner.lines.take(line)


def _interrupted() -> RunnerResponse:
    return RunnerResponse.from_refusal(
        RunnerDisconnected("The server ended while a runner had the request.")
    )


async def notify_cancelled(runner: Runner, request_id: str) -> None:
    """Tell a runner that a request was cancelled. It may finish it all the same."""
    headers = {"x-fal-request-id": request_id}
    try:
        async with runner.ask("POST", "/cancel", headers=headers, seconds=5.0) as upstream:
            # What it says is not kept, however much that is.
            while await upstream.read_part():
                pass
    except (asyncio.TimeoutError, OSError):
        logger.info("Could not tell runner %s to cancel request %s.", runner.id, request_id)
