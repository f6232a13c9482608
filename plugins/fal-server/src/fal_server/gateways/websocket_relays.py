"""Websockets between senders and runners, whose messages are relayed."""

from __future__ import annotations

import asyncio
from asyncio import FIRST_COMPLETED
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, suppress
from typing import Any

import aiohttp
import attrs
from aiohttp import WSCloseCode, web

from fal_server.activity.socket_traffic import SocketTraffic
from fal_server.errors import Unauthenticated, Unavailable
from fal_server.fleet.runners import Runner
from fal_server.gateways.http_servers import REVOKED
from fal_server.gateways.incoming_websockets import IncomingWebSocket
from fal_server.routing.headers import REQUEST_ID, to_runner
from fal_server.routing.refusals import DISCONNECTS, WebSocketRefused
from fal_server.routing.routers import Target

Socket = Any


async def relay_websocket(
    accepted: IncomingWebSocket,
    target: Target,
    runner: Runner,
    request_id: str,
    hold: AbstractAsyncContextManager[None],
    traffic: SocketTraffic | None = None,
) -> tuple[web.WebSocketResponse, int]:
    """
    Relay messages between the sender and a websocket of a runner until either closes. Return
    the websocket of the sender, and the code with which to close it.

    Arguments:
        hold: Ends the relaying with the key of the sender.

        traffic: Counts the messages.

    Raises:
        WebSocketRefused: The application did not accept it.

        Unavailable: The runner broke it off before that.
    """
    request = accepted.request
    offered = request.headers.get("Sec-WebSocket-Protocol", "")
    protocols = tuple(each.strip() for each in offered.split(",") if each.strip())
    opened = runner.http.connect(
        runner.url or "",
        target.path_and_query,
        headers=to_runner(request.headers.items(), request_id, target.path),
        protocols=protocols,
    )
    async with AsyncExitStack() as stack:
        try:
            upstream_socket = await stack.enter_async_context(opened)
        except aiohttp.WSServerHandshakeError as error:
            if error.status < 400:
                raise Unavailable("The runner accepts no websocket at this path.") from error
            raise WebSocketRefused(error.status) from error
        except DISCONNECTS as error:
            raise Unavailable("The runner accepts no websocket at this path.") from error
        chosen = (upstream_socket.protocol,) if upstream_socket.protocol else ()
        socket = accepted.make_response(chosen)
        socket.headers[REQUEST_ID] = request_id
        code = await relay_to_the_end(accepted, socket, upstream_socket, hold, traffic)
        return socket, code or upstream_socket.close_code or WSCloseCode.OK


async def relay_to_the_end(
    accepted: IncomingWebSocket,
    socket: web.WebSocketResponse,
    upstream_socket: Socket,
    hold: AbstractAsyncContextManager[None],
    traffic: SocketTraffic | None = None,
) -> int | None:
    """
    Open the websocket of the sender, relay messages until either closes, and close that of
    the runner. Return the code with which to close the other if it is not the runner's.
    """
    try:
        await socket.prepare(accepted.request)
        async with hold:
            return await _relay_both(accepted, socket, upstream_socket, traffic)
    except Unauthenticated:
        return REVOKED
    except asyncio.CancelledError:
        # The server ends, or the sender has gone.
        with suppress(Exception):
            await socket.close(code=WSCloseCode.GOING_AWAY)
        raise
    finally:
        if traffic is not None:
            traffic.end()
        with suppress(Exception):
            await upstream_socket.close()


async def _relay_both(
    accepted: IncomingWebSocket,
    socket: Socket,
    upstream_socket: Socket,
    traffic: SocketTraffic | None,
) -> int | None:
    """
    Relay messages between two websockets until either closes. If there is no message for too
    long, return the code with which to close them.
    """
    idle = accepted.idle
    relays = [
        Relay(socket, upstream_socket, relayed=accepted.messages.has_dealt),
        Relay(upstream_socket, socket),
    ]
    if traffic is not None:
        relays[0].received, relays[1].received = traffic.send, traffic.answer
    tasks = [asyncio.create_task(relay.run()) for relay in relays]
    try:
        while not (await asyncio.wait(tasks, timeout=idle, return_when=FIRST_COMPLETED))[0]:
            if not sum(relay.take_count() for relay in relays):
                return WSCloseCode.POLICY_VIOLATION
        if traffic is not None and tasks[1].done():
            traffic.close(upstream_socket.close_code)
        return None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@attrs.define(eq=False)
class Relay:
    """
    One direction of a websocket.

    Attributes:
        received: Called with each message that comes.

        relayed: Called with the content of each message that was relayed.
    """

    source: Socket
    target: Socket
    received: Callable[[aiohttp.WSMessage], None] = lambda _: None
    relayed: Callable[[Any], None] = lambda _: None
    _count: int = 0

    async def run(self) -> None:
        """Pass messages on until the source closes."""
        async for message in self.source:
            self._count += 1
            self.received(message)
            if message.type is aiohttp.WSMsgType.TEXT:
                await self.target.send_str(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                await self.target.send_bytes(message.data)
            else:
                return
            self.relayed(message.data)

    def take_count(self) -> int:
        """Return how many messages there were since this was asked last."""
        count, self._count = self._count, 0
        return count
