"""The run gateway: forwarding requests to runners, and responses to their senders."""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import suppress

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.activity.socket_traffic import SocketTraffic
from fal_server.activity.traffic import Traffic
from fal_server.errors import Refusal, Unauthenticated
from fal_server.fleet.runners import Runner
from fal_server.gateways.cross_origin import allow_origin
from fal_server.gateways.descriptions import PAGES
from fal_server.gateways.http_servers import is_websocket, make_error, with_token
from fal_server.gateways.incoming_websockets import accept_websocket
from fal_server.gateways.playgrounds import Playgrounds
from fal_server.gateways.websocket_relays import relay_websocket
from fal_server.listeners.http_connections import Unreadable, recognise, tell_begun
from fal_server.routing.headers import (
    REQUEST_ID,
    from_runner,
    new_request_id,
    to_runner,
)
from fal_server.routing.leases import hand_over, responding
from fal_server.routing.refusals import (
    DISCONNECTS,
    RequestTimeout,
    describe_disconnection,
)
from fal_server.routing.routers import Router, Target
from fal_server.routing.waiting_room import WaitingRoom

logger = logging.getLogger(__name__)

#: The largest body that is forwarded in one piece, in bytes. The body of a request is there
#: before a runner is taken for it.
SMALL_BODY = 1 << 18

#: What is in memory of a larger one until a runner is there, in bytes: its beginning, and
#: what is read ahead of it.
_BEGINNING = 2 * SMALL_BODY


class RunGateway:
    """
    Forwards requests, and websockets, to runners.

    Arguments:
        room: Where requests wait for a runner.

        cors: Whether pages of all origins may read responses.

        playgrounds: Answers for the playgrounds of applications. If it is None, the
            applications answer at these paths themselves.

        traffic: Counts the requests of applications.
    """

    def __init__(
        self,
        router: Router,
        room: WaitingRoom,
        *,
        cors: bool = True,
        playgrounds: Playgrounds | None = None,
        traffic: Traffic | None = None,
    ) -> None:
        self._router = router
        self._room = room
        self._cors = cors
        self._playgrounds = playgrounds
        self._traffic = traffic

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """Forward *request* to a runner, and return its response."""
        target = self._router.find(request.rel_url)
        if request.method == "GET" and target.path in PAGES and self._playgrounds is not None:
            page = await self._playgrounds.answer(request, target)
            if page is not None:
                return page
        began = time.monotonic()
        try:
            response = await self._answer(request, target)
        except Refusal as refusal:
            # What strangers are refused says nothing of the application.
            if refusal.http >= 500:
                self._count(request, target, refusal.http, began)
            raise
        self._count(request, target, response.status, began)
        return response

    def _count(self, request: BaseRequest, target: Target, status: int, began: float) -> None:
        name = target.application.counted_name
        # Of a websocket that was opened, the messages count.
        is_counted = not is_websocket(request) or status >= 500
        if self._traffic is not None and name is not None and is_counted:
            self._traffic.observe(name, status, time.monotonic() - began)

    def _count_messages(self, target: Target) -> SocketTraffic | None:
        name = target.application.counted_name
        if self._traffic is None or name is None:
            return None
        return SocketTraffic(self._traffic, name)

    async def _answer(self, request: BaseRequest, target: Target) -> web.StreamResponse:
        caller = await self._router.admit(target.application, with_token(request))
        if caller is not None:
            recognise(request)
        request_id = new_request_id()
        if is_websocket(request) and not web.WebSocketResponse().can_prepare(request):
            raise Unreadable
        try:
            body = await take_body(request, self._room, caller)
            size = _BEGINNING if body else 0
            if isinstance(body, bytes):
                size = len(body)
            lease = functools.partial(
                self._router.lease,
                target.application,
                request.headers,
                request_id,
                caller,
                room=self._room,
                size=size,
            )
            if not is_websocket(request):
                return await hand_over(
                    lease,
                    lambda runner: self._forward(
                        request, target, runner, request_id, caller, body
                    ),
                )
            async with lease() as runner:
                with accept_websocket(request, self._room, caller) as accepted:
                    hold = self._router.identity.revocations.hold(caller)
                    traffic = self._count_messages(target)
                    socket, code = await relay_websocket(
                        accepted, target, runner, request_id, hold, traffic
                    )
            # The sender may take its time to agree.
            with suppress(Exception):
                await socket.close(code=code)
            return socket
        except Refusal as refusal:
            return make_error(refusal, {REQUEST_ID: request_id})

    async def _forward(
        self,
        request: BaseRequest,
        target: Target,
        runner: Runner,
        request_id: str,
        caller: Caller | None,
        body: bytes | AsyncIterable[bytes] | None,
    ) -> web.StreamResponse:
        forwarded = to_runner(request.headers.items(), request_id, target.path)
        if body is not None and request.content_length is not None:
            # The length is known, and simple servers may not support chunked bodies.
            forwarded["Content-Length"] = str(request.content_length)
        timeout = target.application.scaling.request_timeout
        response: web.StreamResponse | None = None
        tell_begun(request)
        try:
            async with runner.ask(
                request.method,
                target.path_and_query,
                headers=forwarded,
                body=body,
                seconds=timeout,
            ) as upstream:
                with responding(runner, upstream.status, upstream.headers):
                    headers = from_runner(upstream.headers, request_id)
                    if upstream.size is not None and upstream.size <= SMALL_BODY:
                        content = await upstream.read()
                        return web.Response(
                            body=content, status=upstream.status, headers=headers
                        )
                    if self._cors:
                        allow_origin(request, headers)
                    response = web.StreamResponse(status=upstream.status, headers=headers)
                    await response.prepare(request)
                    async with self._router.identity.revocations.hold(caller):
                        while part := await upstream.read_part():
                            await response.write(part)
                        await response.write_eof()
                    return response
        except Unauthenticated as revoked:
            # The status has been sent already.
            raise ConnectionResetError from revoked
        except asyncio.TimeoutError:
            runner.suspect()
            if response is not None:
                raise ConnectionResetError from None
            raise RequestTimeout(f"The request took more than {timeout} seconds.") from None
        except DISCONNECTS as error:
            if response is not None or not runner.url:
                raise ConnectionResetError from error
            reason = request.content.exception()
            if isinstance(reason, Refusal):
                raise reason from None
            if isinstance(reason, web.RequestPayloadError):
                raise Unreadable from None
            raise await describe_disconnection(runner, error) from error


async def take_body(
    request: BaseRequest, room: WaitingRoom, caller: Caller | None
) -> bytes | AsyncIterable[bytes] | None:
    """
    Return the body of *request*, once it is there: a sender who is slow keeps no runner
    waiting. Of a large one only the beginning is there, and the rest comes in parts. None if
    there is no body.

    Raises:
        WaitingRoomFull: There is no room for what has come of it.
    """
    content = request.content
    if not request.body_exists:
        return None
    if content.is_eof() and (request.content_length or SMALL_BODY + 1) <= SMALL_BODY:
        return await content.read()
    received = bytearray()
    with room.hold("" if caller is None else caller.user_id) as held:
        async for part in content.iter_any():
            held.grow(len(part))
            received += part
            if len(received) > SMALL_BODY:
                return _go_on(bytes(received), content)
    return bytes(received)


async def _go_on(beginning: bytes, rest: aiohttp.StreamReader) -> AsyncIterator[bytes]:
    yield beginning
    async for part in rest.iter_any():
        yield part
