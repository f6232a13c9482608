"""
Gateways: the doors through which applications are called at once.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

import aiohttp
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.callers import Caller
from fal_server.connections import Unreadable
from fal_server.errors import Refusal, Unavailable
from fal_server.forwarding import (
    BROKEN,
    REQUEST_ID,
    TOKEN,
    Forwarder,
    RequestTimeout,
    Target,
    broken_off,
    from_runner,
    new_request_id,
    settle_runner,
    to_runner,
    what_is_told,
)
from fal_server.runners import Runner

logger = logging.getLogger(__name__)

#: Answers up to this size are passed on in one piece.
_SMALL = 1 << 18

#: The largest message of a websocket, in bytes.
_LARGEST_MESSAGE = 64 << 20

Answer = Callable[[BaseRequest], Awaitable[web.StreamResponse]]


class RunGateway:
    """
    Answers a request with what a runner answers.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """
        Pass *request* on to a runner, and its answer back.
        """
        target = self._forwarder.find(request.rel_url)
        headers = _with_token(request)
        caller = await self._forwarder.admit(target.application, headers)
        request_id = new_request_id()
        try:
            async with self._forwarder.lease(
                target.application, request.headers, request_id, caller
            ) as runner:
                if _is_websocket(request):
                    return await _pass_websocket(request, target, runner, request_id)
                return await self._pass(request, target, runner, request_id)
        except Refusal as refusal:
            return refuse(refusal, {REQUEST_ID: request_id})

    async def _pass(
        self, request: BaseRequest, target: Target, runner: Runner, request_id: str
    ) -> web.StreamResponse:
        body = request.content if request.body_exists else None
        sent = to_runner(request.headers.items(), request_id, target.path)
        if body is not None and request.content_length is not None:
            # Its length is known: a small server may take nothing in chunks.
            sent["Content-Length"] = str(request.content_length)
        timeout = target.application.scaling.request_timeout
        response: web.StreamResponse | None = None
        try:
            async with (
                runner.session.request(
                    request.method,
                    f"{runner.url}{target.path_and_query}",
                    headers=sent,
                    data=body,
                    allow_redirects=False,
                    timeout=limit(timeout),
                    skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding"),
                ) as upstream,
            ):
                settle_runner(runner, upstream.status, upstream.headers)
                headers = from_runner(upstream.headers, request_id)
                size = upstream.content_length
                if size is not None and size <= _SMALL:
                    content = await upstream.read()
                    return web.Response(body=content, status=upstream.status, headers=headers)
                response = web.StreamResponse(status=upstream.status, headers=headers)
                await response.prepare(request)
                async for chunk in upstream.content.iter_any():
                    await response.write(chunk)
                await response.write_eof()
                return response
        except asyncio.TimeoutError:
            runner.suspect()
            if response is not None:
                raise ConnectionResetError from None
            raise RequestTimeout(f"The request took more than {timeout} seconds.") from None
        except BROKEN as error:
            if response is not None or not runner.url:
                raise ConnectionResetError from error
            if isinstance(request.content.exception(), web.RequestPayloadError):
                raise Unreadable from None
            raise await broken_off(runner) from error


class SocketGateway:
    """
    Takes many requests of an application over one websocket, and answers in order.

    Each is JSON; its answer is a message that begins it, its body, and one that ends it.
    """

    def __init__(self, forwarder: Forwarder) -> None:
        self._forwarder = forwarder

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """
        Answer the requests of one websocket.
        """
        target = self._forwarder.find(request.rel_url)
        caller = await self._forwarder.admit(target.application, _with_token(request))
        if not _is_websocket(request):
            raise Unavailable("This door takes websockets alone.")
        socket = web.WebSocketResponse(max_msg_size=_LARGEST_MESSAGE)
        await socket.prepare(request)
        async for message in socket:
            if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                break
            await self._exchange(socket, request, target, caller, message.data)
        return socket

    async def _exchange(
        self,
        socket: web.WebSocketResponse,
        request: BaseRequest,
        target: Target,
        caller: Caller | None,
        body: str | bytes,
    ) -> None:
        request_id = new_request_id()
        headers = to_runner(request.headers.items(), request_id, target.path)
        headers["Content-Type"] = "application/json"
        data = body.encode() if isinstance(body, str) else body
        status, told = 502, {}
        try:
            async with (
                self._forwarder.lease(
                    target.application, request.headers, request_id, caller
                ) as runner,
                runner.session.post(
                    f"{runner.url}{target.path}",
                    data=data,
                    headers=headers,
                    timeout=limit(target.application.scaling.request_timeout),
                ) as upstream,
            ):
                status = upstream.status
                settle_runner(runner, status, upstream.headers)
                told = dict(from_runner(upstream.headers, request_id))
                await socket.send_str(_control("start", request_id, status, told))
                async for chunk in upstream.content.iter_any():
                    await socket.send_bytes(chunk)
        except Refusal as refusal:
            status = refusal.http
            await socket.send_str(_control("start", request_id, status, told))
            await socket.send_bytes(json.dumps(what_is_told(refusal)[0]).encode())
        except (asyncio.TimeoutError, *BROKEN):
            if not told:
                await socket.send_str(_control("start", request_id, status, told))
            await socket.send_bytes(b'{"detail": "The runner broke off the request."}')
        await socket.send_str(_control("end", request_id, status, told))


def serve_gateway(answer: Answer) -> web.Server:
    """
    Return what answers the requests of the connections of a gateway.

    A sender that goes away ends its request.
    """

    async def guarded(request: BaseRequest) -> web.StreamResponse:
        try:
            return await answer(request)
        except Refusal as refusal:
            return refuse(refusal)
        except web.RequestPayloadError:
            # What it says has a part of the body.
            return refuse(Unreadable())
        except web.HTTPException as error:
            return web.json_response({"detail": error.reason}, status=error.status)
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception:
            logger.exception("%s %s failed", request.method, request.path)
            return web.json_response({"detail": "An internal error occurred."}, status=500)

    return web.Server(guarded, handler_cancellation=True)


def refuse(refusal: Refusal, headers: dict[str, str] | None = None) -> web.Response:
    """
    Return what tells a sender of *refusal*.
    """
    body, told = what_is_told(refusal)
    return web.json_response(body, status=refusal.http, headers={**told, **(headers or {})})


def _with_token(request: BaseRequest) -> dict[str, str]:
    """
    Return the headers of *request*, with the token that a url may carry instead.
    """
    headers = dict(request.headers)
    token = request.query.get(TOKEN)
    if token and "Authorization" not in request.headers:
        headers["Authorization"] = f"Bearer {token}"
    return headers


def _is_websocket(request: BaseRequest) -> bool:
    return request.headers.get("Upgrade", "").lower() == "websocket"


async def _pass_websocket(
    request: BaseRequest, target: Target, runner: Runner, request_id: str
) -> web.StreamResponse:
    """
    Connect the sender with a websocket of a runner until one of them ends it.
    """
    asked = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = tuple(each.strip() for each in asked.split(",") if each.strip())
    try:
        there = await runner.session.ws_connect(
            f"{runner.url}{target.path_and_query}",
            headers=to_runner(request.headers.items(), request_id, target.path),
            protocols=protocols,
            max_msg_size=_LARGEST_MESSAGE,
        )
    except BROKEN as error:
        raise Unavailable("The runner takes no websocket there.") from error
    chosen = (there.protocol,) if there.protocol else ()
    here = web.WebSocketResponse(protocols=chosen, max_msg_size=_LARGEST_MESSAGE)
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


def limit(seconds: float | None) -> aiohttp.ClientTimeout:
    """
    Return how long a runner may take for a request, None for any time.
    """
    return aiohttp.ClientTimeout(total=seconds, sock_connect=5.0)


def _control(kind: str, request_id: str, status: int, headers: dict[str, str]) -> str:
    told = {"type": kind, "request_id": request_id, "status": status, "headers": headers}
    return json.dumps(told)
