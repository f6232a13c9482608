"""Incoming websockets: what clients may send over them, with a key and without one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import attrs
from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.access.callers import Caller
from fal_server.fleet.http_client import LARGEST_MESSAGE
from fal_server.listeners.http_connections import count_messages
from fal_server.listeners.websocket_messages import IncomingMessages
from fal_server.routing.waiting_room import WaitingRoom


@attrs.frozen(kw_only=True)
class IncomingWebSocket:
    """
    A websocket that a client asks for.

    Attributes:
        messages: Its messages. The gateway that has dealt with one says so there.

        idle: Seconds without a message after which it ends. None for no limit.

        largest: The most bytes of a message.

        may_compress: Whether messages may be compressed.
    """

    request: BaseRequest
    messages: IncomingMessages
    idle: float | None
    largest: int
    may_compress: bool

    def make_response(self, protocols: Iterable[str] = ()) -> web.WebSocketResponse:
        """Return the response that opens it."""
        # A message of so many bytes would be too large.
        return web.WebSocketResponse(
            protocols=protocols, max_msg_size=self.largest + 1, compress=self.may_compress
        )


@contextmanager
def accept_websocket(
    request: BaseRequest, room: WaitingRoom, caller: Caller | None
) -> Iterator[IncomingWebSocket]:
    """
    Yield the websocket that *request* asks for. The messages of a client without a key take
    no more memory than *room* has for them.
    """
    limits = room.limits
    if caller is not None:
        yield IncomingWebSocket(
            request=request,
            messages=count_messages(request, None),
            idle=None,
            largest=LARGEST_MESSAGE,
            may_compress=True,
        )
        return
    with room.hold("") as held:
        yield IncomingWebSocket(
            request=request,
            messages=count_messages(request, held),
            idle=limits.longest_idle,
            largest=limits.largest_websocket_message,
            # What is counted is what arrives.
            may_compress=False,
        )
