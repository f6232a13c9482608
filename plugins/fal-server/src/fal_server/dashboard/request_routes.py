"""The routes of queued requests: which there are, what became of one, and its end."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.errors import Invalid, NotFound, NotNow, Refusal
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import number_of
from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.applications import Application
from fal_server.routing.headers import OF_SENDERS, REQUEST_ID, new_request_id
from fal_server.specs.request_retries import RETRY_CONFIG
from fal_server.store.queued_requests import QueuedRequest, requests

#: The most requests of a page.
_PAGE = 100

#: The states by which requests are chosen, as they are stored.
_STATES = ("queued", "running", "completed", "cancelled", "failed")

#: The columns of a request in a list.
_LISTED = (
    *("id", "number", "alias", "owner_name", "sender", "method", "path", "state", "attempts"),
    *("submitted_at", "started_at", "ended_at", "status", "error", "body_size", "answer_size"),
)

#: The largest result that is shown, in bytes.
_LARGEST_SHOWN = 1 << 20

#: What a request has before it is answered.
_ANEW: Mapping[str, Any] = {
    name: getattr(attrs.fields(QueuedRequest), name).default
    for name in (
        *("state", "attempts", "started_at", "ended_at", "status", "answer_headers", "error"),
        *("error_type", "webhook_due", "webhook_tries", "answer_size"),
    )
}

_TEXT = re.compile(r"^(text/|application/([\w.-]+\+)?(json|xml|x-ndjson))", re.IGNORECASE)


class RequestRoutes:
    """Answers the routes of queued requests."""

    def __init__(self, queue: RequestQueue) -> None:
        self._queue = queue

    def routes(self) -> Iterable[ApiRoute]:
        """Return the routes."""
        reads, one = "models:requests:read", "/dashboard/requests/{id}"
        return [
            ApiRoute("GET", "/dashboard/requests", reads, self._list),
            ApiRoute("GET", one, reads, self._find_one),
            ApiRoute("GET", f"{one}/result", reads, self._result),
            ApiRoute("POST", f"{one}/cancel", "models:requests:submit", self._cancel),
            ApiRoute("POST", f"{one}/again", "models:requests:submit", self._repeat),
        ]

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        """Return the newest requests of the account's applications, and those that it has sent."""
        query, size = request.query, number_of(request, "size", _PAGE, most=_PAGE)
        state, application = query.get("state", ""), query.get("application", "")
        if state and state not in _STATES:
            raise Invalid(f"'state' must be one of {', '.join(_STATES)}.")
        columns = requests.c
        chosen = sa.or_(columns.account_id == caller.user_id, columns.sender == caller.user_id)
        if state in ("queued", "running"):
            chosen &= columns.state == state
        elif state == "failed":
            chosen &= columns.status >= 400
        elif state:
            # Most requests are over: their order finds some sooner than their state does.
            chosen &= columns.state.concat("") == state
        if application:
            chosen &= columns.alias == application
        if query.get("before"):
            chosen &= columns.number < number_of(request, "before", 1, most=10**9 - 1)
        named = [columns[name] for name in _LISTED]
        statement = sa.select(*named).where(chosen).order_by(columns.number.desc()).limit(size)
        rows = await self._queue.requests.database.read(
            lambda connection: [dict(row._mapping) for row in connection.execute(statement)]
        )
        return web.json_response({"requests": rows, "is_last": len(rows) < size})

    async def _find_one(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._find(request, caller)
        described: dict[str, Any] = {name: getattr(found, name) for name in _LISTED}
        described |= {
            "error_type": found.error_type,
            "webhook": bool(found.webhook),
            "priority": found.priority,
            "position": None,
            "can_repeat": await self._can_repeat(found, request),
        }
        if found.state == "queued":
            described["position"] = await self._queue.position(found)
        return web.json_response(described)

    async def _result(self, request: web.Request, caller: Caller) -> web.Response:
        """Return the response to a request, as far as it can be shown."""
        await self._find(request, caller)
        found, body = await self._queue.responses.find(request.match_info["id"])
        if found is None or found.state != "completed":
            raise NotFound("There is no result of this request.")
        headers = {name.lower(): value for name, value in found.answer_headers}
        kind = headers.get("content-type", "")
        shown: dict[str, Any] = {"status": found.status, "type": kind, "size": body.size}
        if body.size <= _LARGEST_SHOWN and not headers.get("content-encoding"):
            content = b"".join([piece async for piece in body.pieces()])
            if _TEXT.match(kind):
                shown["text"] = content.decode("utf-8", "replace")
            else:
                shown["data"] = base64.b64encode(content).decode()
        return web.json_response(shown, headers={"Cache-Control": "no-store"})

    async def _cancel(self, request: web.Request, caller: Caller) -> web.Response:
        found = await self._find(request, caller)
        return web.json_response({"cancelled": await self._queue.cancel(found)})

    async def _can_repeat(self, found: QueuedRequest, request: web.Request) -> bool:
        """
        Return whether a request has ended, its input is kept, and its reader may use the
        application.
        """
        if not found.is_over:
            return False
        try:
            await self._admit(found, request)
        except Refusal:
            return False
        query = sa.select(sa.func.length(requests.c.body)).where(requests.c.id == found.id)
        size = await self._queue.requests.database.read(
            lambda connection: connection.scalar(query)
        )
        return (size or 0) == found.body_size

    async def _admit(self, found: QueuedRequest, request: web.Request) -> Application:
        """
        Return the application of a request.

        Raises:
            Refusal: There is none any more, or the caller may not use it.
        """
        router = self._queue.router
        application = router.catalog.find(found.owner_name, found.alias)
        await router.admit(application, request.headers)
        return application

    async def _repeat(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Submit a request that has ended once more, in the name of *caller*.

        Raises:
            NotNow: It has not ended, or its input is not kept.

            Refusal: *caller* may not use the application any more.
        """
        found, queue = await self._find(request, caller), self._queue
        application = await self._admit(found, request)
        if not found.is_over:
            raise NotNow("This request has not ended.")
        query = sa.select(requests.c.body).where(requests.c.id == found.id)
        content = await queue.requests.database.read(
            lambda connection: connection.scalar(query)
        )
        if len(content or b"") != found.body_size:
            raise NotNow("The input of this request is not kept: send it anew.")
        id = new_request_id()
        dropped = {REQUEST_ID}
        if found.sender != caller.user_id:
            dropped |= {RETRY_CONFIG, *OF_SENDERS}
        headers = [
            each for each in found.headers if each[0].lower().replace("_", "-") not in dropped
        ]
        head = len(found.path) + sum(len(name) + len(value) for name, value in headers)
        with queue.reception.receive(
            id, application, caller.user_id, head=head, body=found.body_size
        ) as incoming:
            await incoming.write(content or b"")
            await incoming.finish()
            repeated = attrs.evolve(
                found,
                id=id,
                number=queue.reception.next_number(),
                sender=caller.user_id,
                headers=((REQUEST_ID, id), *headers),
                webhook="",
                submitted_at=queue.requests.database.now(),
                **_ANEW,
            )
            await queue.submit(repeated, incoming)
        return web.json_response({"id": id})

    async def _find(self, request: web.Request, caller: Caller) -> QueuedRequest:
        """
        Return a request to an application of *caller*, or that they have sent.

        Raises:
            NotFound: There is none.
        """
        found = await self._queue.requests.find(request.match_info["id"])
        if found is None or caller.user_id not in (found.account_id, found.sender):
            raise NotFound("There is no such request.")
        return found
