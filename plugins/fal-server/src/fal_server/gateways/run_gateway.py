"""
Gateways: the doors through which applications are called at once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.errors import Refusal, Unavailable
from fal_server.fleet.http_client import LARGEST_MESSAGE
from fal_server.fleet.runners import Runner
from fal_server.gateways.http_servers import is_websocket, refuse, with_token
from fal_server.listeners.http_connections import Unreadable
from fal_server.routing.headers import (
    REQUEST_ID,
    from_runner,
    new_request_id,
    to_runner,
)
from fal_server.routing.leases import settle_runner
from fal_server.routing.refusals import (
    DISCONNECTS,
    RequestTimeout,
    describe_disconnection,
)
from fal_server.routing.routers import Router, Target

logger = logging.getLogger(__name__)

#: Answers up to this size are passed on in one piece.
_SMALL = 1 << 18


class RunGateway:
    """
    Answers a request with what a runner answers.
    """

    def __init__(self, router: Router) -> None:
        self._router = router

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """
        Pass *request* on to a runner, and its answer back.
        """
        target = self._router.find(request.rel_url)
        caller = await self._router.admit(target.application, with_token(request))
        request_id = new_request_id()
        try:
            async with self._router.lease(
                target.application, request.headers, request_id, caller
            ) as runner:
                if is_websocket(request):
                    return await _pass_websocket(request, target, runner, request_id)
                return await self._pass(request, target, runner, request_id)
        except Refusal as refusal:
            return refuse(refusal, {REQUEST_ID: request_id})

    async def _pass(
        self, request: BaseRequest, target: Target, runner: Runner, request_id: str
    ) -> web.StreamResponse:
        body = await _body_of(request)
        sent = to_runner(request.headers.items(), request_id, target.path)
        if body is not None and request.content_length is not None:
            # Its length is known: a small server may take nothing in chunks.
            sent["Content-Length"] = str(request.content_length)
        timeout = target.application.scaling.request_timeout
        response: web.StreamResponse | None = None
        try:
            async with runner.ask(
                request.method,
                target.path_and_query,
                headers=sent,
                body=body,
                seconds=timeout,
            ) as upstream:
                settle_runner(runner, upstream.status, upstream.headers)
                headers = from_runner(upstream.headers, request_id)
                if upstream.size is not None and upstream.size <= _SMALL:
                    content = await upstream.read()
                    return web.Response(body=content, status=upstream.status, headers=headers)
                response = web.StreamResponse(status=upstream.status, headers=headers)
                await response.prepare(request)
                while part := await upstream.read_part():
                    await response.write(part)
                await response.write_eof()
                return response
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


async def _pass_websocket(
    request: BaseRequest, target: Target, runner: Runner, request_id: str
) -> web.StreamResponse:
    """
    Connect the sender with a websocket of a runner until one of them ends it.
    """
    asked = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = tuple(each.strip() for each in asked.split(",") if each.strip())
    try:
        there = await runner.http.connect(
            runner.url or "",
            target.path_and_query,
            headers=to_runner(request.headers.items(), request_id, target.path),
            protocols=protocols,
        )
    except DISCONNECTS as error:
        raise Unavailable("The runner takes no websocket there.") from error
    chosen = (there.protocol,) if there.protocol else ()
    here = web.WebSocketResponse(protocols=chosen, max_msg_size=LARGEST_MESSAGE)
    here.headers[REQUEST_ID] = request_id
    await here.prepare(request)
    ways = [asyncio.create_task(_relay(here, there)), asyncio.create_task(_relay(there, here))]
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        with suppress(Exception):
            await there.close()
        with suppress(Exception):
            await here.close(code=there.close_code or 1000)
    return here


Socket = Any


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
    Return the body of *request*: as bytes where it is short and has come whole, since those
    take one step to send.
    """
    if not request.body_exists:
        return None
    if request.content.is_eof() and (request.content_length or _SMALL + 1) <= _SMALL:
        return await request.content.read()
    return request.content.iter_any()
