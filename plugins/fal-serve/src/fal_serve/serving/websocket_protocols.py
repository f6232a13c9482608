"""
The protocol of websockets: uvicorn's, with fewer system calls for small messages.

When the service drains, a websocket is closed once its handler waits for what comes
next. A handler that accepted it with ``fal.drain`` is sent a message of that type
instead, after all that came before, and closes it itself.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

from fal_serve.realtime_sessions.channels import DRAIN

#: Bytes of messages that are read ahead, and what each takes beside its own.
_AHEAD = 1 << 16
_OVERHEAD = 1 << 10
#: Seconds that a client has to take note of the end while the service drains.
_LAST_WORD = 1.0


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """
    A websocket that is read on while a message waits, up to a bound, and drained.

    To stop and start reading around each message takes two system calls, which is a
    part of what a small one takes altogether.
    """

    _ahead = 0
    _waiting = 0
    _draining = _told = False

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
            # Whoever is to answer it is another service.
            self.frames = []
            return
        self._ahead += sum(map(len, self.frames)) + _OVERHEAD
        if self._ahead >= _AHEAD:
            super().send_receive_event_to_app()
            return
        paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = paused

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
                # It was refused by an answer, which uvicorn takes for none at all.
                self.handshake_complete = True
            return
        # As it is for most messages.
        try:
            self.conn.send_binary(data)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
