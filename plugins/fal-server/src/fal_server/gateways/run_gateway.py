"""
The run gateway: forwarding requests to runners, and responses to their senders.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.errors import Refusal, Unauthenticated, Unavailable
from fal_server.fleet.http_client import LARGEST_MESSAGE
from fal_server.fleet.runners import Runner
from fal_server.gateways.cross_origin import allow_origin
from fal_server.gateways.http_servers import REVOKED, is_websocket, make_error, with_token
from fal_server.listeners.http_connections import Unreadable
from fal_server.routing.headers import (
    REQUEST_ID,
    from_runner,
    new_request_id,
    to_runner,
)
from fal_server.routing.leases import drain_if_broken
from fal_server.routing.refusals import (
    DISCONNECTS,
    RequestTimeout,
    describe_disconnection,
)
from fal_server.routing.routers import Router, Target

logger = logging.getLogger(__name__)

#: The largest body that is forwarded in one piece, in bytes.
_SMALL = 1 << 18


class RunGateway:
    """
    Forwards requests, and websockets, to runners.

    Arguments:
        cors: Whether pages of all origins may read responses.
    """

    def __init__(self, router: Router, *, cors: bool = True) -> None:
        self._router = router
        self._cors = cors

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """
        Forward *request* to a runner, and return its response.
        """
        target = self._router.find(request.rel_url)
        caller = await self._router.admit(target.application, with_token(request))
        request_id = new_request_id()
        try:
            async with self._router.lease(
                target.application, request.headers, request_id, caller
            ) as runner:
                if is_websocket(request):
                    hold = self._router.identity.revocations.hold(caller)
                    return await _forward_websocket(request, target, runner, request_id, hold)
                return await self._forward(request, target, runner, request_id, caller)
        except Refusal as refusal:
            return make_error(refusal, {REQUEST_ID: request_id})

    async def _forward(
        self,
        request: BaseRequest,
        target: Target,
        runner: Runner,
        request_id: str,
        caller: Caller | None,
    ) -> web.StreamResponse:
        body = await _body_of(request)
        forwarded = to_runner(request.headers.items(), request_id, target.path)
        if body is not None and request.content_length is not None:
            # The length is known, and simple servers may not support chunked bodies.
            forwarded["Content-Length"] = str(request.content_length)
        timeout = target.application.scaling.request_timeout
        response: web.StreamResponse | None = None
        try:
            async with runner.ask(
                request.method,
                target.path_and_query,
                headers=forwarded,
                body=body,
                seconds=timeout,
            ) as upstream:
                drain_if_broken(runner, upstream.status, upstream.headers)
                headers = from_runner(upstream.headers, request_id)
                if upstream.size is not None and upstream.size <= _SMALL:
                    content = await upstream.read()
                    return web.Response(body=content, status=upstream.status, headers=headers)
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
            if isinstance(request.content.exception(), web.RequestPayloadError):
                raise Unreadable from None
            raise await describe_disconnection(runner, error) from error


async def _forward_websocket(
    request: BaseRequest,
    target: Target,
    runner: Runner,
    request_id: str,
    hold: AbstractAsyncContextManager[None],
) -> web.StreamResponse:
    """
    Relay messages between the sender and a websocket of a runner until either closes.

    Arguments:
        hold: Ends the relaying with the key of the sender.
    """
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = tuple(each.strip() for each in offered.split(",") if each.strip())
    async with AsyncExitStack() as stack:
        opened = runner.http.connect(
            runner.url or "",
            target.path_and_query,
            headers=to_runner(request.headers.items(), request_id, target.path),
            protocols=protocols,
        )
        try:
            upstream_socket = await stack.enter_async_context(opened)
        except DISCONNECTS as error:
            raise Unavailable("The runner accepts no websocket at this path.") from error
        chosen = (upstream_socket.protocol,) if upstream_socket.protocol else ()
        socket = web.WebSocketResponse(protocols=chosen, max_msg_size=LARGEST_MESSAGE)
        socket.headers[REQUEST_ID] = request_id
        await socket.prepare(request)
        await _relay_both(socket, upstream_socket, hold)
    return socket


Socket = Any


async def _relay_both(
    socket: Socket, upstream_socket: Socket, hold: AbstractAsyncContextManager[None]
) -> None:
    """
    Relay messages in both directions while *hold* lasts, and close both when either closes.
    """
    relays = [
        asyncio.create_task(_relay(socket, upstream_socket)),
        asyncio.create_task(_relay(upstream_socket, socket)),
    ]
    code = 0
    try:
        async with hold:
            await asyncio.wait(relays, return_when=asyncio.FIRST_COMPLETED)
    except Unauthenticated:
        code = REVOKED
    finally:
        for relay in relays:
            relay.cancel()
        await asyncio.gather(*relays, return_exceptions=True)
        with suppress(Exception):
            await upstream_socket.close()
        with suppress(Exception):
            await socket.close(code=code or upstream_socket.close_code or 1000)


async def _relay(source: Socket, target: Socket) -> None:
    async for message in source:
        if message.type is aiohttp.WSMsgType.TEXT:
            await target.send_str(message.data)
        elif message.type is aiohttp.WSMsgType.BINARY:
            await target.send_bytes(message.data)
        else:
            return


async def _body_of(request: BaseRequest) -> bytes | AsyncIterable[bytes] | None:
    """
    Return the body of *request*: as bytes if it is small and has arrived already, so that it
    is sent in one write, or else in parts. None if there is none.
    """
    if not request.body_exists:
        return None
    if request.content.is_eof() and (request.content_length or _SMALL + 1) <= _SMALL:
        return await request.content.read()
    return request.content.iter_any()
