"""
Relays of websockets to the replica that decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress

import aiohttp
import attrs
from aiohttp import WSCloseCode, web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.access.revocations import Revocations
from fal_server.errors import Unavailable
from fal_server.gateways.incoming_websockets import IncomingWebSocket, accept_websocket
from fal_server.gateways.websocket_relays import relay_to_the_end
from fal_server.listeners.http_connections import RELAY, Unreadable, is_relayed
from fal_server.replicas.http_relays import PAUSE, NotBegun, refuse_relayed
from fal_server.replicas.lines import Line, Lines
from fal_server.replicas.seats import PATIENCE
from fal_server.routing.headers import without_hops
from fal_server.routing.waiting_room import WaitingRoom

#: What a client is told whose websocket ends with the replica that decided.
_LOST = b"The replica of the server that had the websocket was lost: connect again."


@attrs.define(eq=False)
class WebSocketRelay:
    """
    Passes websockets on to the replica that decides.
    """

    lines: Lines
    room: WaitingRoom
    revocations: Revocations

    async def forward(
        self, request: BaseRequest, listener: str, caller: Caller | None
    ) -> web.StreamResponse:
        """
        Relay a websocket of the replica that decides, at its port for *listener*, until
        either end closes it.

        Raises:
            NobodyDecides: No replica has decided for a while.
        """
        if is_relayed(request):
            return refuse_relayed()
        if not web.WebSocketResponse().can_prepare(request):
            raise Unreadable
        until = asyncio.get_running_loop().time() + PATIENCE
        with accept_websocket(request, self.room, caller) as accepted:
            while True:
                line = await self.lines.wait(until)
                try:
                    return await self._relay(line, accepted, listener, caller)
                except NotBegun:
                    await asyncio.sleep(PAUSE)
                    if asyncio.get_running_loop().time() > until:
                        raise

    async def _relay(
        self, line: Line, accepted: IncomingWebSocket, listener: str, caller: Caller | None
    ) -> web.StreamResponse:
        request = accepted.request
        offered = request.headers.get("Sec-WebSocket-Protocol", "")
        headers = without_hops(request.headers)
        for name in [each for each in headers if each.lower().startswith("sec-websocket")]:
            headers.popall(name, None)
        headers[RELAY] = self.lines.secret
        opened = line.http.connect(
            line.seat.replica.url(listener),
            request.rel_url.raw_path_qs,
            headers=headers,
            protocols=tuple(each.strip() for each in offered.split(",") if each.strip()),
        )
        has_opened = False
        try:
            async with opened as upstream:
                has_opened = True
                chosen = (upstream.protocol,) if upstream.protocol else ()
                socket = accepted.make_response(chosen)
                hold = self.revocations.hold(caller)
                code = await relay_to_the_end(accepted, socket, upstream, hold)
                code = code or upstream.close_code or WSCloseCode.OK
        except aiohttp.WSServerHandshakeError as error:
            return _refuse(error)
        except (aiohttp.ClientError, OSError) as error:
            if has_opened:
                raise ConnectionResetError from error
            raise NotBegun from error
        is_lost = code == WSCloseCode.ABNORMAL_CLOSURE
        with suppress(Exception):
            # The sender may take its time to agree.
            await socket.close(
                code=WSCloseCode.SERVICE_RESTART if is_lost else code,
                message=_LOST if is_lost else b"",
            )
        return socket


def _refuse(error: aiohttp.WSServerHandshakeError) -> web.Response:
    """
    Return what the replica that decides has answered in place of opening a websocket.

    Raises:
        NotBegun: It does not decide.
    """
    headers: Mapping[str, str] = error.headers or {}
    if RELAY in headers:
        raise NotBegun from error
    if error.status < 400:
        raise Unavailable("The websocket could not be opened.") from error
    passed = {
        name: value for name, value in headers.items() if name.lower().startswith("x-fal")
    }
    detail = "The websocket was refused."
    return web.json_response({"detail": detail}, status=error.status, headers=passed)
