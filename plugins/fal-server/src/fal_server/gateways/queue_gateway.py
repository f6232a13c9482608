"""The queue gateway: submitting requests, and their status, result and cancellation."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from datetime import datetime, timezone
from typing import Any, Protocol

from aiohttp import web
from aiohttp.web_request import BaseRequest
from multidict import CIMultiDict

from fal_core.events import Log
from fal_server.access.callers import Caller
from fal_server.errors import Invalid, NotFound, NotNow, Unanswered, Unauthenticated
from fal_server.listeners.http_connections import recognise, tell_begun
from fal_server.listeners.urls import Urls
from fal_server.logs.log_lines import LogFilter, LogLine
from fal_server.logs.logs import StoredLogs
from fal_server.queue.incoming_requests import IncomingRequest
from fal_server.queue.receptions import Reception
from fal_server.queue.request_queues import may_read, may_read_logs
from fal_server.queue.webhooks import Webhooks
from fal_server.routing.headers import REQUEST_ID, new_request_id, start_timeout, to_runner
from fal_server.routing.routers import WEBHOOK, Router, Target
from fal_server.specs.request_retries import RETRY_CONFIG, read_budgets
from fal_server.state.bodies import Body
from fal_server.store.idempotency_keys import IdempotencyKey, check_text
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.queued_requests import QueuedRequest, QueuedRequests

#: The header with the idempotency key of a request, and that of a response which says that
#: the request was accepted before.
IDEMPOTENCY_KEY, REPLAYED = "Idempotency-Key", "Idempotent-Replayed"

#: The priorities by their names in the header. Requests with smaller numbers go first.
_PRIORITIES = {"normal": 0, "low": 1}

#: What the status of a request says of its state.
_STATES = {
    "queued": "IN_QUEUE",
    "running": "IN_PROGRESS",
    "completed": "COMPLETED",
    "cancelled": "COMPLETED",
}

#: Methods that submit nothing: browsers, link checkers and caches send them by themselves.
_READING = ("GET", "HEAD", "OPTIONS")

#: The end of a route of fal's queue that this one does not have: no application gets it.
_STATUS_STREAM = ["status", "stream"]

#: The most log lines in a status.
_MOST_LINES = 2000

_CANCELLED = "The request was cancelled."


class Queue(Protocol):
    """A queue that accepts requests, regardless of which replica has them answered."""

    reception: Reception
    requests: QueuedRequests
    responses: KeptResponses
    webhooks: Webhooks

    async def submit(
        self,
        request: QueuedRequest,
        incoming: IncomingRequest,
        key: IdempotencyKey | None = None,
    ) -> str:
        """Accept a request whose body has arrived, and return its id."""

    async def position(self, request: QueuedRequest, *, is_new: bool = False) -> int:
        """Return how many requests to the same application are ahead of one that waits."""

    async def cancel(self, request: QueuedRequest) -> bool:
        """Cancel a request, and return False if it has ended already."""


class QueueGateway:
    """Accepts requests for the queue, and answers the routes of queued requests."""

    def __init__(self, router: Router, queue: Queue, logs: StoredLogs, urls: Urls) -> None:
        self._router = router
        self._queue = queue
        self._logs = logs
        self._urls = urls

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """Submit a request, or answer a route of a queued one."""
        if request.method not in _READING:
            tell_begun(request)
        target = self._router.find(request.rel_url)
        parts = target.path.strip("/").split("/")
        if parts[0] == "requests" and (len(parts) in (2, 3) or parts[2:] == _STATUS_STREAM):
            return await self._answer_route(request, target, parts[1], parts[2:])
        if request.method in _READING:
            return web.json_response(
                {"detail": f"{request.method} submits nothing to the queue: use POST."},
                status=405,
                headers={"Allow": "POST, PUT, PATCH, DELETE"},
            )
        return await self._submit(request, target)

    async def _submit(self, request: BaseRequest, target: Target) -> web.Response:
        application = target.application
        caller = await self._router.admit(application, request.headers)
        if caller is not None:
            recognise(request)
        sender = "" if caller is None else caller.user_id
        # Refuse an invalid header now, rather than when the request is given to a runner.
        timeout = start_timeout(request.headers)
        priority = request.headers.get("X-Fal-Queue-Priority", "normal").lower()
        if priority not in _PRIORITIES:
            raise Invalid("X-Fal-Queue-Priority must be normal or low.")
        retries = request.headers.get(RETRY_CONFIG)
        if retries and sender == application.owner:
            read_budgets(retries)
        webhook = request.query.get(WEBHOOK, "")
        if webhook:
            self._queue.webhooks.check(webhook)
            self._queue.webhooks.check_room(sender, application.owner)
        text = request.headers.get(IDEMPOTENCY_KEY)
        if text is not None:
            _check_key(text, caller)
        request_id = new_request_id()
        headers = to_runner(request.headers.items(), request_id, target.path)
        head = len(target.path_and_query) + sum(
            len(name) + len(value) for name, value in headers.items()
        )
        reception = self._queue.reception
        with reception.receive(
            request_id, application, sender, head=head, body=request.content_length
        ) as incoming:
            async for piece in request.content.iter_any():
                await incoming.write(piece)
            body = await incoming.finish()
            queued = QueuedRequest(
                id=request_id,
                number=reception.next_number(),
                account_id=application.owner,
                owner_name=application.owner_name,
                alias=application.alias,
                sender=sender,
                method=request.method,
                path=target.path_and_query,
                headers=tuple(headers.items()),
                body_size=body.size,
                priority=_PRIORITIES[priority],
                webhook=webhook,
                submitted_at=self._queue.requests.database.now(),
                start_timeout=timeout,
            )
            key = None
            if text is not None:
                # Large bodies take a while to digest.
                key = await asyncio.to_thread(_make_key, text, queued, body)
            accepted = await self._queue.submit(queued, incoming, key)
        is_replayed = accepted != request_id
        if is_replayed:
            queued = await self._queue.requests.find(accepted) or queued
        response = _json(
            {
                "status": _STATES[queued.state],
                "request_id": accepted,
                **self._urls_of(request, queued),
                "queue_position": await self._queue.position(queued, is_new=not is_replayed),
            },
            accepted,
        )
        if is_replayed:
            response.headers[REPLAYED] = "true"
        return response

    async def _answer_route(
        self, request: BaseRequest, target: Target, request_id: str, rest: list[str]
    ) -> web.StreamResponse:
        application = target.application
        caller = await self._router.admit(application, request.headers, "models:requests:read")
        if caller is not None:
            recognise(request)
        wants_result = not rest and request.method == "GET"
        answer = Body()
        if wants_result:
            queued, answer = await self._queue.responses.find(request_id)
        else:
            queued = await self._queue.requests.find(request_id)
        if (
            queued is None
            or (queued.owner_name, queued.alias) != (application.owner_name, application.alias)
            or not may_read(application, caller, queued)
        ):
            raise NotFound("There is no such request.")
        if wants_result:
            return await self._answer_result(request, queued, answer)
        if rest == ["status"] and request.method == "GET":
            may_read_lines = may_read_logs(application, caller)
            # A request that waits for a runner is told what that waits for.
            waits_for = application.pool.waits_for if may_read_lines else ""
            return await self._status(
                request, queued, may_read_lines=may_read_lines, waits_for=waits_for
            )
        if rest == ["cancel"] and request.method in ("PUT", "POST"):
            if caller is not None:
                caller.require("models:requests:submit")
            if not await self._queue.cancel(queued):
                return _json({"status": "ALREADY_COMPLETED"}, request_id, status=400)
            return _json({"status": "CANCELLATION_REQUESTED"}, request_id, status=202)
        raise Unanswered("this route of queued requests")

    async def _answer_result(
        self, request: BaseRequest, queued: QueuedRequest, body: Body
    ) -> web.StreamResponse:
        """
        Return the response of the application, unchanged.

        Arguments:
            body: Its body.

        Raises:
            RequestCancelled: The request was cancelled.

            StillInProgress: There is no response yet.
        """
        if queued.state == "cancelled":
            raise RequestCancelled(_CANCELLED)
        if not queued.is_over:
            raise StillInProgress("Request is still in progress")
        headers = CIMultiDict(queued.answer_headers)
        headers[REQUEST_ID] = queued.id
        status = queued.status or 500
        if body.files is None:
            return web.Response(body=body.content, status=status, headers=headers)
        headers["Content-Length"] = str(body.size)
        response = web.StreamResponse(status=status, headers=headers)
        await response.prepare(request)
        async for piece in body.pieces():
            await response.write(piece)
        await response.write_eof()
        return response

    async def _status(
        self,
        request: BaseRequest,
        queued: QueuedRequest,
        *,
        may_read_lines: bool,
        waits_for: str,
    ) -> web.Response:
        """
        Return the status of a request, for both released clients: one reads the status
        code, the other the body.

        Arguments:
            waits_for: What the next runner waits for. Empty where none waits.
        """
        wants_logs = request.query.get("logs", "").lower() in ("1", "true")
        lines = await self._lines(queued) if wants_logs and may_read_lines else []
        status: dict[str, Any] = {
            "request_id": queued.id,
            **self._urls_of(request, queued),
            "logs": lines if wants_logs else None,
            "attempts": queued.attempts,
        }
        status["status"] = _STATES[queued.state]
        if queued.state == "queued":
            status["queue_position"] = await self._queue.position(queued)
            if waits_for:
                status["reason"] = waits_for
                if wants_logs:
                    waiting = Log(waits_for, "INFO", "BRIDGE", time.time())
                    lines.append(_line_of(waiting, queued.id))
        if not queued.is_over:
            return _json(status, queued.id, status=202)
        began, ended = queued.started_at, queued.ended_at
        seconds = ended - began if began is not None and ended is not None else None
        status["metrics"] = {"inference_time": seconds}
        if queued.state == "cancelled":
            status |= {"error": _CANCELLED, "error_type": RequestCancelled.kind}
        elif queued.error is not None:
            status |= {"error": queued.error, "error_type": queued.error_type}
        return _json(status, queued.id)

    async def _lines(self, queued: QueuedRequest) -> list[dict[str, Any]]:
        await self._logs.flush()
        lines = await self._logs.read(
            LogFilter(account_id=queued.account_id, request_id=queued.id), size=_MOST_LINES
        )
        return [_line_of(line, queued.id) for line in lines]

    def _urls_of(self, request: BaseRequest, queued: QueuedRequest) -> dict[str, str]:
        """
        Return the URLs of a queued request, with the host by which the client calls this
        server.
        """
        host = request.headers.get("Host") or self._urls.address("queue")
        is_encrypted = self._urls.is_public("queue", host) or (
            request.transport is not None
            and bool(request.transport.get_extra_info("ssl_object"))
        )
        base = f"{'https' if is_encrypted else 'http'}://{host}"
        url = f"{base}/{queued.owner_name}/{queued.alias}/requests/{queued.id}"
        return {
            "response_url": url,
            "status_url": f"{url}/status",
            "cancel_url": f"{url}/cancel",
        }


def _line_of(line: Log | LogLine, request_id: str) -> dict[str, Any]:
    return {
        "message": line.message,
        "level": line.level,
        "source": line.source,
        "timestamp": datetime.fromtimestamp(line.time, timezone.utc).isoformat(),
        "labels": {"fal_request_id": request_id},
    }


def _check_key(text: str, caller: Caller | None) -> None:
    """
    Check the idempotency key of a request.

    Raises:
        Unauthenticated: It has no account to which its idempotency key could belong.

        Invalid: The idempotency key is too long, or has other characters than it may have.
    """
    if caller is None:
        raise Unauthenticated(
            "An Idempotency-Key belongs to an account: send the request with an API key, or "
            "without Idempotency-Key."
        )
    check_text(text)


def _make_key(text: str, queued: QueuedRequest, body: Body) -> IdempotencyKey:
    path, _, query = queued.path.partition("?")
    return IdempotencyKey.make(
        text,
        account=queued.sender,
        application=(queued.account_id, queued.alias),
        path=path,
        content=(queued.method.encode(), query.encode(), _digest(body)),
    )


def _digest(body: Body) -> bytes:
    digest = hashlib.sha256()
    for piece in body.pieces_here():
        digest.update(piece)
    return digest.digest()


class StillInProgress(NotNow):
    """The request has no response yet."""

    http = 400


class RequestCancelled(NotNow):
    """The request was cancelled, and will have no response."""

    http = 499
    kind = "client_cancelled"


def _json(content: dict[str, Any], request_id: str, *, status: int = 200) -> web.Response:
    return web.Response(
        body=json.dumps(content).encode(),
        status=status,
        content_type="application/json",
        headers={REQUEST_ID: request_id},
    )
