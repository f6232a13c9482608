"""
The protocol of websockets: uvicorn's, with fewer system calls for small messages.

When the service drains, a websocket is closed once its handler waits for the next
message. A handler that accepted it with ``fal.drain`` receives a message of that type
instead, after all earlier ones, and closes it itself.
"""

from __future__ import annotations

from asyncio import BaseTransport
from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from fal_serve.realtime_sessions.channels import DRAIN
from fal_serve.serving.listeners import LOCAL

#: Bytes of messages that are read ahead, and the overhead of each message.
_AHEAD = 1 << 16
_OVERHEAD = 1 << 10
#: Seconds that a client has to answer the close frame while the service drains.
_LAST_WORD = 1.0


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """
    A websocket that is read on, up to a bound, while a message waits, and that drains.

    Pausing and resuming reading around each message takes two system calls, which is a good
    part of the time of a small one.
    """

    _ahead = 0
    _waiting = 0
    _draining = _told = False

    def __init__(self, *args: Any, is_handed: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._is_handed = is_handed

    def connection_made(self, transport: BaseTransport) -> None:
        super().connection_made(transport)
        if self.client is None or self._is_handed:
            self.client, self.server = LOCAL

    def shutdown(self) -> None:
        if not self.handshake_complete or self.close_sent or self.disconnected:
            super().shutdown()
            return
        self._draining = True
        self.close_timeout = _LAST_WORD
        if self._told:
            drained: Any = {"type": DRAIN}
            self.queue.put_nowait(drained)
        elif self._waiting:
            super().shutdown()

    def send_receive_event_to_app(self) -> None:
        if self._draining:
            # Another service will have to answer it.
            self.frames = []
            return
        self._ahead += sum(map(len, self.frames)) + _OVERHEAD
        if self._ahead >= _AHEAD:
            super().send_receive_event_to_app()
            return
        paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused: bool = paused

    async def receive(self) -> Any:
        queue = self.queue
        if self._draining and not self._told and queue.empty():
            super().shutdown()
        self._waiting += 1
        try:
            message = await queue.get()
        finally:
            self._waiting -= 1
        if queue.empty():
            self._ahead = 0
            if self.read_paused:
                self.read_paused = False
                self.transport.resume_reading()
        return message

    async def send(self, message: Any) -> None:
        data = message.get("bytes")
        plain = data is not None and message["type"] == "websocket.send"
        is_open = self.handshake_complete and not (self.close_sent or self.disconnected)
        if not (plain and is_open and self.writable.is_set()):
            if message["type"] == "websocket.accept":
                self._told = message.get(DRAIN, False)
            await super().send(message)
            if message["type"] == "websocket.http.response.body" and self.close_sent:
                # It was refused with a response, which uvicorn would take for missing.
                self.handshake_complete = True
            return
        # The common case, without uvicorn's checks.
        try:
            self.conn.send_binary(data)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
