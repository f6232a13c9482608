"""
Playgrounds of deployed applications: pages on which they are tried in a browser.

They are made from the document with which a revision was registered, and open while nothing
runs. What is told of an application that is open to everybody comes with the page. For any
other the page is the same: what it shows of one it asks for, with a token.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping
from typing import Any

from aiohttp import web
from aiohttp.web_request import BaseRequest
from isolate_proto import controller_pb2 as wire

from fal_server.access.callers import Caller
from fal_server.access.identities import PLAYGROUND
from fal_server.errors import NotFound
from fal_server.fleet.runners import Runner
from fal_server.gateways.descriptions import (
    DOCUMENT,
    LEADING,
    PAGE,
    Description,
    Descriptions,
)
from fal_server.gateways.playground_pages import PlaygroundPage, find_page, send_with_page
from fal_server.listeners.http_connections import recognise
from fal_server.listeners.urls import Urls
from fal_server.logs.log_lines import LogFilter
from fal_server.logs.logs import StoredLogs
from fal_server.routing.applications import Application
from fal_server.routing.routers import Router, Target
from fal_server.store.revisions import Revisions

#: Seconds that the token of a page is valid: the pages of all applications have one origin.
_SECONDS = 3600.0

#: The most bytes of a document that is sent with a page.
_LARGEST_SENT = 1 << 16

#: The most log lines of a runner that starts.
_MOST_LINES = 40


class Playgrounds:
    """
    Answers the routes of playgrounds.

    Arguments:
        cors: Whether the pages of all origins may send requests to the queue.
    """

    def __init__(
        self, router: Router, revisions: Revisions, logs: StoredLogs, urls: Urls, *, cors: bool
    ) -> None:
        self._router = router
        self._descriptions = Descriptions(revisions)
        self._logs = logs
        self._urls = urls
        self._cors = cors

    async def answer(self, request: BaseRequest, target: Target) -> web.StreamResponse | None:
        """Return the response to *request*, a GET. None where the application is to answer it."""
        application = target.application
        if not application.revision or application.broken:
            return None
        if target.path in LEADING and "text/html" not in request.headers.get("Accept", ""):
            return None
        found = await asyncio.to_thread(find_page)
        described = await self._descriptions.find(application.revision)
        if found is None or target.path in described.own:
            return None
        if described.trouble and target.path == PAGE:
            raise NotFound(described.trouble)
        if not described.document:
            return None
        if target.path == PAGE:
            return await self._show(request, application, found, described)
        if target.path in LEADING:
            page = f"/{application.owner_name}/{application.alias}{PAGE}"
            return web.Response(status=307, headers={"Location": page})
        caller = await self._router.admit(application, request.headers)
        if caller is not None:
            recognise(request)
        if target.path == DOCUMENT:
            return _json(described.document)
        return _json(await self._state_of(request, application, caller))

    async def _show(
        self,
        request: BaseRequest,
        application: Application,
        page: PlaygroundPage,
        described: Description,
    ) -> web.Response:
        sent = b""
        is_small = len(described.document) <= _LARGEST_SENT
        if application.auth_mode == wire.PUBLIC and is_small:
            state = await self._state_of(request, application, None)
            sent = send_with_page(state=state, document=described.document)
        headers = {**page.headers, "etag": page.tag(sent)}
        if headers["etag"] in request.headers.get("If-None-Match", ""):
            return web.Response(status=304, headers=headers)
        headers["vary"] = "accept-encoding"
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            body, headers["content-encoding"] = page.packed(sent), "gzip"
        else:
            body = page.plain(sent)
        policy = headers["content-security-policy"]
        queue = self._queue_of(request)
        if queue:
            policy = policy.replace("connect-src 'self'", f"connect-src 'self' {queue}")
        headers["content-security-policy"] = policy
        return web.Response(
            body=body,
            headers=headers,
            content_type="text/html",
            charset="utf-8",
        )

    def find(self, caller: Caller, alias: str) -> Application:
        """
        Return an application that *caller* may use: by its alias one of their own, and by
        ``OWNER/ALIAS`` that of another account.

        Raises:
            NotFound: There is none.
        """
        owner, _, name = alias.rpartition("/")
        with contextlib.suppress(NotFound):
            application = self._router.catalog.find(owner or caller.nickname, name)
            if application.owner == caller.user_id or application.auth_mode != wire.PRIVATE:
                return application
        raise NotFound(f"Application {alias[:80]!r} was not found.")

    def make_token(self, caller: Caller, application: Application) -> str:
        """Return a token with which the page of an application acts for *caller*."""
        return self._router.identity.tokens.make(
            PLAYGROUND,
            caller.user_id,
            key=caller.key_id,
            seconds=_SECONDS,
            apps={application.owner: [application.alias]},
        )

    async def _state_of(
        self, request: BaseRequest, application: Application, caller: Caller | None
    ) -> bytes:
        """Return what is told of an application beside its document, as JSON."""
        runners = application.runners
        counts: dict[str, int] = {}
        for runner in runners:
            counts[runner.label] = counts.get(runner.label, 0) + 1
        queue = self._queue_of(request)
        path = f"/{application.owner_name}/{application.alias}"
        state: dict[str, Any] = {
            "instance": application.revision,
            "order": json.loads((await self._descriptions.find(application.revision)).order),
            "needs_key": application.auth_mode != wire.PUBLIC,
            "runners": counts,
            "waiting": application.pool.waiting,
            "queue": f"{queue}{path}" if queue else None,
        }
        starting = [each for each in runners if each.lifecycle.may_start]
        if starting and not any(each.is_running for each in runners):
            state |= await self._describe_start(application, caller, starting[0])
        return json.dumps(state).encode()

    async def _describe_start(
        self, application: Application, caller: Caller | None, runner: Runner
    ) -> Mapping[str, Any]:
        """Return how far a runner is that starts. Its lines are for the owner alone."""
        start: dict[str, Any] = {"phase": runner.label, "seconds": runner.uptime}
        if caller is None or caller.user_id != application.owner:
            return start
        chosen = LogFilter(account_id=application.owner, runner_id=runner.id)
        await self._logs.flush()
        page = await self._logs.search(chosen, size=_MOST_LINES)
        lines = [
            {"message": line.message, "level": line.level} for line in reversed(page.lines)
        ]
        return start | {"reason": application.pool.waits_for, "lines": lines[-_MOST_LINES:]}

    def _queue_of(self, request: BaseRequest) -> str:
        """
        Return the base of the URLs of the queue, as the browser reaches it. Empty where its
        pages may not.
        """
        if not self._cors:
            return ""
        return self._urls.beside("queue", "run", request.headers.get("Host", ""))


def _json(body: bytes) -> web.Response:
    return web.Response(
        body=body, content_type="application/json", headers={"Cache-Control": "no-store"}
    )
