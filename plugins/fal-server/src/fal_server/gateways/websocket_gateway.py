"""The websocket gateway: many requests over one websocket."""

from __future__ import annotations

import asyncio
import functools
import json
import time

import aiohttp
import attrs
from aiohttp import WSCloseCode, web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.activity.traffic import Traffic
from fal_server.errors import Refusal, Unauthenticated, Unavailable
from fal_server.fleet.runners import Runner
from fal_server.gateways.http_servers import REVOKED, is_websocket, with_token
from fal_server.gateways.incoming_websockets import IncomingWebSocket, accept_websocket
from fal_server.listeners.http_connections import recognise
from fal_server.routing.headers import from_runner, new_request_id, to_runner
from fal_server.routing.leases import hand_over, responding
from fal_server.routing.refusals import (
    DISCONNECTS,
    RequestTimeout,
    describe_disconnection,
    describe_refusal,
)
from fal_server.routing.routers import Router, Target
from fal_server.routing.waiting_room import WaitingRoom

_SILENT = b"No message has come for a while."


class WebSocketGateway:
    """
    Answers requests to an application over one websocket, in the order they arrive.

    Each message is the JSON body of a request. Its response is a ``start`` message, the
    body in one message or more, and an ``end`` message.

    Arguments:
        room: Where requests wait for a runner.

        traffic: Counts the requests of applications.
    """

    def __init__(
        self, router: Router, room: WaitingRoom, *, traffic: Traffic | None = None
    ) -> None:
        self._router = router
        self._room = room
        self._traffic = traffic

    async def answer(self, request: BaseRequest) -> web.StreamResponse:
        """Answer the requests of one websocket."""
        target = self._router.find(request.rel_url)
        caller = await self._router.admit(target.application, with_token(request))
        if caller is not None:
            recognise(request)
        if not is_websocket(request):
            raise Unavailable("This gateway accepts only websockets.")
        with accept_websocket(request, self._room, caller) as accepted:
            return await self._answer_all(accepted, target, caller)

    async def _answer_all(
        self, accepted: IncomingWebSocket, target: Target, caller: Caller | None
    ) -> web.WebSocketResponse:
        request, socket = accepted.request, accepted.make_response()
        await socket.prepare(request)
        try:
            async with self._router.identity.revocations.hold(caller):
                while True:
                    message = await asyncio.wait_for(socket.receive(), accepted.idle)
                    if message.type not in (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY):
                        break
                    text = message.data
                    data = text.encode() if isinstance(text, str) else text
                    await self._exchange(socket, request, target, caller, data)
                    accepted.messages.has_dealt(data)
        except asyncio.TimeoutError:
            await socket.close(code=WSCloseCode.POLICY_VIOLATION, message=_SILENT)
        except Unauthenticated as revoked:
            await socket.close(code=REVOKED, message=str(revoked).encode())
        return socket

    async def _exchange(
        self,
        socket: web.WebSocketResponse,
        request: BaseRequest,
        target: Target,
        caller: Caller | None,
        data: bytes,
    ) -> None:
        began, reply = time.monotonic(), UpstreamReply(socket, new_request_id())
        lease = functools.partial(
            self._router.lease,
            target.application,
            request.headers,
            reply.request_id,
            caller,
            room=self._room,
            # Without a key, messages take room as soon as they arrive.
            size=0 if caller is None else len(data),
        )
        try:
            await hand_over(
                lease, lambda runner: _forward(reply, request, target, runner, data)
            )
        except Refusal as refusal:
            await reply.refuse(refusal)
        name = target.application.counted_name
        if self._traffic is not None and name is not None:
            self._traffic.observe(name, reply.status, time.monotonic() - began)
        await reply.end()


@attrs.define
class UpstreamReply:
    """The messages of the response to one request."""

    socket: web.WebSocketResponse
    request_id: str
    status: int = 0
    _headers: dict[str, str] = attrs.field(factory=dict)

    async def start(self, status: int, headers: dict[str, str]) -> None:
        """Send the ``start`` message."""
        self.status, self._headers = status, headers
        await self.socket.send_str(self._control("start"))

    async def refuse(self, refusal: Refusal) -> None:
        """
        Send *refusal* as the body. If a body has started already, the status in the ``end``
        message changes.
        """
        body, headers = describe_refusal(refusal)
        if not self.status:
            await self.start(refusal.http, dict(headers))
        self.status = refusal.http
        await self.socket.send_bytes(json.dumps(body).encode())

    async def end(self) -> None:
        """Send the ``end`` message."""
        await self.socket.send_str(self._control("end"))

    def _control(self, kind: str) -> str:
        message = {"type": kind, "request_id": self.request_id, "status": self.status}
        return json.dumps({**message, "headers": self._headers})


async def _forward(
    reply: UpstreamReply, request: BaseRequest, target: Target, runner: Runner, data: bytes
) -> None:
    """
    Forward a request to *runner*, and its response to the websocket.

    Raises:
        RequestTimeout: The runner took too long.

        RunnerDisconnected: The runner broke off the request.
    """
    headers = to_runner(request.headers.items(), reply.request_id, target.path)
    headers["Content-Type"] = "application/json"
    # A body that is sent as websocket messages has no encoding.
    headers["Accept-Encoding"] = "identity"
    timeout = target.application.scaling.request_timeout
    try:
        async with runner.ask(
            "POST",
            target.path_and_query,
            headers=headers,
            body=data,
            seconds=timeout,
        ) as upstream:
            with responding(runner, upstream.status, upstream.headers):
                forwarded = dict(from_runner(upstream.headers, reply.request_id))
                await reply.start(upstream.status, forwarded)
                while part := await upstream.read_part():
                    await reply.socket.send_bytes(part)
    except asyncio.TimeoutError:
        runner.suspect()
        raise RequestTimeout(f"The request took more than {timeout} seconds.") from None
    except DISCONNECTS as error:
        if reply.socket.closed:
            raise ConnectionResetError from error
        raise await describe_disconnection(runner, error) from error
