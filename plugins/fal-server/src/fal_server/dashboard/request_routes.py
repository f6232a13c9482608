"""
The routes of queued requests: which there are, what became of one, and its end.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any

import attrs
import sqlalchemy as sa
from aiohttp import web

from fal_server.access.callers import Caller
from fal_server.errors import Invalid, NotFound, NotNow
from fal_server.http.api import ApiRoute
from fal_server.http.bodies import number_of
from fal_server.queue.request_queues import RequestQueue
from fal_server.routing.headers import REQUEST_ID, new_request_id
from fal_server.store.kept_responses import keeps_body
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
    """
    Answers the routes of queued requests.
    """

    def __init__(self, queue: RequestQueue) -> None:
        self._queue = queue

    def routes(self) -> Iterable[ApiRoute]:
        """
        Return the routes.
        """
        reads, one = "models:requests:read", "/dashboard/requests/{id}"
        return [
            ApiRoute("GET", "/dashboard/requests", reads, self._list),
            ApiRoute("GET", one, reads, self._find_one),
            ApiRoute("GET", f"{one}/result", reads, self._result),
            ApiRoute("POST", f"{one}/cancel", "models:requests:submit", self._cancel),
            ApiRoute("POST", f"{one}/again", "models:requests:submit", self._repeat),
        ]

    async def _list(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Return the newest requests of the account's applications, and those that it has sent.
        """
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
            "can_repeat": _is_kept(found),
        }
        if found.state == "queued":
            described["position"] = await self._queue.position(found)
        return web.json_response(described)

    async def _result(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Return the response to a request, as far as it can be shown.
        """
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

    async def _repeat(self, request: web.Request, caller: Caller) -> web.Response:
        """
        Submit a request that has failed once more, in the name of *caller*.

        Raises:
            NotNow: Its input is no longer kept.

            Refusal: *caller* may not use the application any more.
        """
        found = await self._find(request, caller)
        queue, names = self._queue, (found.owner_name, found.alias)
        application = queue.router.catalog.find(*names)
        await queue.router.admit(application, request.headers)
        query = sa.select(requests.c.body).where(requests.c.id == found.id)
        content = await queue.requests.database.read(
            lambda connection: connection.scalar(query)
        )
        if not _is_kept(found) or len(content or b"") != found.body_size:
            raise NotNow("The input of this request is not kept: send it anew.")
        id = new_request_id()
        headers = [each for each in found.headers if each[0].lower() != REQUEST_ID]
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


def _is_kept(found: QueuedRequest) -> bool:
    """
    Return whether a request has ended, and its input is still there.
    """
    was_answered = found.state == "completed"
    return found.is_over and (
        not found.body_size or (was_answered and keeps_body(found, found.status or 0))
    )
