"""
The queue: requests that are accepted now and answered later.

A request is stored before its sender gets a response. If an attempt fails, or the server
ends while a runner has the request, it is given to a runner again, and ``attempts`` counts
up. :mod:`fal_server.specs.request_retries` decides whether there is another attempt.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Callable, Mapping
from itertools import islice
from typing import Any

import attrs
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.claims.arrivals import has_arrivals, take_arrivals
from fal_server.errors import Fenced, NotFound
from fal_server.limits import Limits
from fal_server.queue.attempts import Attempts, InternalError, notify_cancelled
from fal_server.queue.backlogs import FRONT, Backlog
from fal_server.queue.incoming_requests import IncomingRequest
from fal_server.queue.pending_requests import PendingRequest
from fal_server.queue.queue_room import Name, Slot, sender_of
from fal_server.queue.receptions import Reception
from fal_server.queue.responses import RunnerResponse
from fal_server.queue.webhooks import Webhooks
from fal_server.routing.applications import Application
from fal_server.routing.routers import Router
from fal_server.state.bodies import SMALL, BodyFiles
from fal_server.state.disk_reserves import DiskReserve
from fal_server.state.tasks import Tasks, insist, uninterrupted
from fal_server.store.idempotency_keys import IdempotencyKey
from fal_server.store.kept_responses import KeptResponses, keeps_body
from fal_server.store.queued_requests import (
    UNFINISHED,
    QueuedRequest,
    QueuedRequests,
    name_body,
)
from fal_server.telemetry.contexts import MakeSpan, no_span

logger = logging.getLogger(__name__)

Observe = Callable[[tuple[str, str], int, float], None]


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
    Accepts requests, and gives them to runners. *observe* is called with the application, the
    status and the seconds of each response.
    """

    router: Router
    requests: QueuedRequests
    files: BodyFiles
    responses: KeptResponses
    webhooks: Webhooks
    reserve: DiskReserve
    limits: Limits = attrs.field(factory=Limits)
    make_span: MakeSpan = no_span
    observe: Observe | None = None
    reception: Reception = attrs.field(init=False)
    _attempts: Attempts = attrs.field(init=False)
    _backlog: Backlog = attrs.field(init=False)
    _taking: asyncio.Future[None] | None = None
    _tasks: Tasks = attrs.field(factory=Tasks, init=False)

    def __attrs_post_init__(self) -> None:
        self.reception = Reception(self.requests, self.files, self.reserve, self.limits)
        self._backlog = Backlog(
            self.requests,
            lambda pending: asyncio.ensure_future(self._process(pending)),
            lambda pending: self.reception.room.leave(pending.place),
        )
        self._attempts = Attempts(
            self.router,
            self.requests,
            self.files,
            self.limits.largest_queued_response,
            self.reserve,
            self._backlog.leave_line,
            self._backlog.take_back,
            self.make_span,
        )

    async def start(self) -> None:
        """Resume the requests and the webhooks that an earlier server left."""
        self.reception.number = await self.requests.last_number()
        names: dict[Name, Name] = {}
        now = self.requests.database.now()

        def restore(row: Any) -> tuple[PendingRequest, float | None]:
            # Equal names are one object: there may be very many requests.
            name, sender = (row.owner_name, row.alias), sender_of(row.sender, row.account_id)
            name, sender = names.setdefault(name, name), names.setdefault(sender, sender)
            place = Slot(name, sender, row.size)
            return PendingRequest.restore(row, place, now), row.start_timeout

        for pending, timeout in await self.requests.unfinished(restore):
            self.reception.room.restore(pending.place)
            self._add(pending, timeout)
        await self._backlog.start()
        self.responses.start()
        await self.webhooks.start()

    async def close(self) -> None:
        """Stop working on requests and webhooks. The next server resumes them."""
        await self._tasks.close()
        await self._backlog.close()
        await self.webhooks.close()
        await self.responses.close()

    async def submit(
        self,
        request: QueuedRequest,
        incoming: IncomingRequest,
        key: IdempotencyKey | None = None,
    ) -> str:
        """
        Accept a request whose body has arrived, and return its id. Once this returns, the
        request is stored, and is answered even if the server ends before that. If a request
        was accepted with *key* before, return the id of that one.

        Raises:
            KeyReused: That one was another request.
        """
        incoming.submit()
        return await self._accept(request, incoming, key)

    @uninterrupted
    async def _accept(
        self, request: QueuedRequest, incoming: IncomingRequest, key: IdempotencyKey | None
    ) -> str:
        try:
            accepted = await self.requests.add(request, key, body=incoming.body.content)
        except Exception:
            incoming.discard()
            raise
        if accepted != request.id:
            incoming.discard()
            return accepted
        incoming.keep()
        self._add(PendingRequest.of(request, incoming.place), request.start_timeout)
        return accepted

    def take_arrivals(self) -> None:
        """Begin to have requests answered that other replicas have accepted."""
        if self._taking is None or self._taking.done():
            self._taking = self._tasks.spawn(self._take_arrivals())

    async def _take_arrivals(self) -> None:
        database = self.requests.database
        while await insist(lambda: database.read(has_arrivals)):
            ids = await insist(lambda: database.write(take_arrivals))
            found = await insist(functools.partial(self.requests.find_all, ids))
            for request in sorted(found.values(), key=lambda it: it.number):
                self._take_in(request)

    def _take_in(self, request: QueuedRequest) -> None:
        """Have a request answered that another replica has accepted, unless it is known."""
        if request.is_over or self._backlog.find(request.id) is not None:
            return
        head = len(request.path) + sum(
            len(name) + len(value) for name, value in request.headers
        )
        name = request.owner_name, request.alias
        sender = sender_of(request.sender, request.account_id)
        place = Slot(name, sender, head + request.body_size)
        self.reception.room.restore(place)
        pending = PendingRequest.restore(request, place, self.requests.database.now())
        pending.request = request
        self._add(pending, request.start_timeout)

    async def position(self, request: QueuedRequest, *, is_new: bool = False) -> int:
        """
        Return how many requests to the same application are ahead of one that waits.

        Arguments:
            is_new: Whether it was accepted in this moment.
        """
        return self._backlog.position(request.id)

    @uninterrupted
    async def cancel(self, request: QueuedRequest) -> bool:
        """
        Cancel a request: drop it if it waits, or tell its runner. Return False if it has
        ended already.
        """
        if request.is_over:
            return False
        pending = self._backlog.find(request.id)
        # A request that waits for its next attempt may still be stored as running.
        waits = pending is not None and pending.runner is None
        only = UNFINISHED if waits else ("queued",)
        dropped = await self.requests.cancel([request.id], only)
        if pending is None:
            return True
        if dropped:
            self._drop(pending)
        elif pending.runner is not None:
            pending.cancelled = True
            await notify_cancelled(pending.runner, request.id)
        return True

    def _drop(self, pending: PendingRequest) -> None:
        """Forget a request that was cancelled in the database."""
        pending.cancelled = True
        size = pending.place.size
        if size > SMALL:
            self.files.remove(name_body(pending.id))
        sender, owner = pending.place.sender
        self.responses.add(sender, owner, size if sender and size <= SMALL else 0)
        if pending.task is not None:
            pending.task.cancel()
        else:
            self._backlog.remove(pending)

    def waiting(self) -> Mapping[str, int]:
        """Return how many requests wait for a runner, by ``owner/alias`` of the application."""
        return {"/".join(name): count for name, count in self._backlog.counts()}

    async def size(self, caller: Caller, owner: str, alias: str) -> QueueSize:
        """
        Return how many requests to an application wait.

        Raises:
            NotFound: *caller* has no such application.
        """
        waiting = self._waiting_for(caller, owner, alias)
        by_caller: dict[str, int] = {}
        for pending in waiting:
            sender, _ = pending.place.sender
            by_caller[sender] = by_caller.get(sender, 0) + 1
        return QueueSize(size=len(waiting), by_caller=by_caller)

    @uninterrupted
    async def flush(self, caller: Caller, owner: str, alias: str, *, sender: str | None) -> int:
        """
        Drop the requests to an application that wait, and return how many were dropped.

        Arguments:
            sender: The account whose requests to drop. None drops those of all.

        Raises:
            NotFound: *caller* has no such application.
        """
        dropped = 0
        # The last first, so that nobody competes for a runner in place of one that is dropped.
        waiting = reversed(self._waiting_for(caller, owner, alias))
        while some := {each.id: each for each in islice(waiting, FRONT)}:
            chosen = [
                each.id
                for each in some.values()
                if each.runner is None and sender in (None, each.place.sender[0])
            ]
            for id in await self.requests.cancel(chosen, UNFINISHED):
                self._drop(some[id])
                dropped += 1
        return dropped

    def _waiting_for(self, caller: Caller, owner: str, alias: str) -> list[PendingRequest]:
        application = self.router.catalog.find(owner, alias)
        if application.owner != caller.user_id:
            raise NotFound(f"Application {owner[:80]}/{alias[:80]} was not found.")
        return self._backlog.of((owner, alias))

    # -- answering ---------------------------------------------------------------------

    def _add(self, pending: PendingRequest, start_timeout: float | None) -> None:
        """Have a request wait, for the time that it asks for or the application allows."""
        if start_timeout is None:
            with contextlib.suppress(NotFound):
                application = self.router.catalog.find(*pending.place.application)
                if pending.place.sender[0] == application.owner:
                    start_timeout = application.scaling.request_start_timeout
        self._backlog.add(pending, start_timeout)

    async def _process(self, pending: PendingRequest) -> None:
        response = await self._attempts.answer(pending)
        if response is None:
            return
        try:
            finished = await self._finish(pending, response)
        except Fenced:
            # Another replica has it answered.
            response.discard()
            return
        except Exception:
            logger.exception("The response to request %s could not be stored", pending.id)
            response.discard()
            response = RunnerResponse.from_refusal(InternalError("An internal error occurred."))
            finished = await self._finish(pending, response)
        if finished:
            response.keep()
        else:
            response.discard()

    async def _finish(self, pending: PendingRequest, response: RunnerResponse) -> bool:
        """Store a response, and return whether the request still wanted one."""
        request, now = pending.loaded, self.requests.database.now()
        values: dict[str, Any] = {
            "state": "completed",
            "ended_at": now,
            "status": response.status,
            "answer_headers": response.headers,
            "answer_size": response.body.size,
            "answer": response.body.content,
            "error": response.error,
            "error_type": response.error_type,
            "webhook_due": now if request.webhook else None,
        }
        if not keeps_body(request):
            values["body"] = b""
        if pending.attempted_at is not None:
            # So the duration is right even if the clock was changed in between.
            values["started_at"] = now - (time.monotonic() - pending.attempted_at)
        # Repeat the write until it succeeds: a request with a response is not sent again.
        finished = await insist(
            lambda: self.requests.change(request.id, only=UNFINISHED, **values)
        )
        if not finished:
            return False
        if self.observe is not None and pending.attempted_at is not None:
            name = request.account_id, request.alias
            self.observe(name, response.status, time.monotonic() - pending.attempted_at)
        kept = response.body.size
        if request.body_size > SMALL:
            self.files.remove(name_body(request.id))
        elif keeps_body(request):
            kept += request.body_size
        self.responses.add(request.sender, request.account_id, kept)
        if request.webhook:
            self.webhooks.deliver(request.id, pending.place.sender)
        return True


def may_read(application: Application, caller: Caller | None, request: QueuedRequest) -> bool:
    """
    Return whether *caller* may see a request: its sender and the owner of the application
    may, and anybody may see an anonymous request to a public application.
    """
    if application.auth_mode == wire.PUBLIC and not request.sender:
        return True
    return caller is not None and caller.user_id in (request.sender, application.owner)


def may_read_logs(application: Application, caller: Caller | None) -> bool:
    """Return whether *caller*, who may see a request, may also read its log lines."""
    owns = caller is not None and caller.user_id == application.owner
    return owns or not application.private_logs
