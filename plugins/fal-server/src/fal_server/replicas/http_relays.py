"""
Relays of HTTP requests to the replica that decides.

That one tells when a request may run from then on, by an interim response. Until then the
request is given to the next replica that decides, if that one is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from http import HTTPStatus

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.errors import Refusal, Unavailable
from fal_server.fleet.http_upstreams import BrokenUpstream, Upstream
from fal_server.gateways.run_gateway import SMALL_BODY, take_body
from fal_server.listeners.http_connections import RELAY, Unreadable, is_relayed
from fal_server.replicas.lines import Line, Lines
from fal_server.replicas.seats import PATIENCE
from fal_server.routing.headers import without_hops
from fal_server.routing.waiting_room import WaitingRoom

#: What a replica that does not decide answers to another one, in the header of relays.
NOT_DECIDING = "not deciding"

#: Seconds before a replica that cannot be reached is tried again.
PAUSE = 0.1


class DeciderLost(Unavailable):
    """The replica that decides was lost with a request that may have run."""

    http = 502
    kind = "runner_disconnected"

    def __init__(self) -> None:
        super().__init__(
            "The replica of the server that had the request was lost before it answered. The "
            "request may have run: look at what it has done before you send it again."
        )


class NotBegun(Unavailable):
    """The replica that decides was lost with a request that has not run."""

    def __init__(self) -> None:
        super().__init__(
            "The replica of the server that received the request was lost before it was "
            "begun. Send it again."
        )


@attrs.define(eq=False)
class HttpRelay:
    """Passes requests on to the replica that decides."""

    lines: Lines
    room: WaitingRoom

    async def forward(
        self, request: BaseRequest, listener: str, caller: Caller | None
    ) -> web.StreamResponse:
        """
        Return the response of the replica that decides, at its port for *listener*.

        Raises:
            NobodyDecides: No replica has decided for a while.

            NotBegun: The request was not begun, and cannot be repeated.

            DeciderLost: The request may have run.
        """
        if is_relayed(request):
            return refuse_relayed()
        until = asyncio.get_running_loop().time() + PATIENCE
        body = await take_body(request, self.room, caller)
        while True:
            line = await self.lines.wait(until)
            try:
                return await self._ask(line, request, listener, body)
            except NotBegun:
                if body is not None and not isinstance(body, bytes):
                    raise
                # Until its claim has expired, it seems to decide.
                await asyncio.sleep(PAUSE)
                if asyncio.get_running_loop().time() > until:
                    raise

    async def _ask(
        self,
        line: Line,
        request: BaseRequest,
        listener: str,
        body: bytes | AsyncIterable[bytes] | None,
    ) -> web.StreamResponse:
        has_begun = False

        def note(status: int) -> None:
            nonlocal has_begun
            has_begun = has_begun or status == HTTPStatus.PROCESSING

        headers = without_hops(request.headers)
        for name in ("Content-Length", "Expect"):
            headers.popall(name, None)
        if body is not None and request.content_length is not None:
            headers["Content-Length"] = str(request.content_length)
        headers[RELAY] = self.lines.secret
        response: web.StreamResponse | None = None
        try:
            async with line.http.ask(
                request.method,
                line.seat.replica.url(listener),
                request.rel_url.raw_path_qs,
                headers=headers,
                body=body,
                informed=note,
            ) as upstream:
                if upstream.headers.get(RELAY) == NOT_DECIDING:
                    raise NotBegun
                if upstream.size is not None and upstream.size <= SMALL_BODY:
                    return _respond(upstream, await upstream.read())
                response = web.StreamResponse(
                    status=upstream.status, headers=without_hops(upstream.headers)
                )
                await response.prepare(request)
                while part := await upstream.read_part():
                    await response.write(part)
                await response.write_eof()
                return response
        except BrokenUpstream as error:
            if response is not None:
                raise ConnectionResetError from error
            reason = request.content.exception()
            if isinstance(reason, Refusal):
                raise reason from None
            if isinstance(reason, web.RequestPayloadError):
                raise Unreadable from None
            raise (DeciderLost if has_begun else NotBegun) from error


def refuse_relayed() -> web.Response:
    """
    Return what another replica is answered that has passed a request on to one which does not
    decide.
    """
    return web.Response(status=503, headers={RELAY: NOT_DECIDING})


def _respond(upstream: Upstream, content: bytes) -> web.Response:
    headers = without_hops(upstream.headers)
    headers.popall("Content-Length", None)
    return web.Response(body=content, status=upstream.status, headers=headers)
