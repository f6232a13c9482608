"""
The protocol of websockets: uvicorn's, with fewer system calls for small messages.
"""

from __future__ import annotations

from typing import Any

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.exceptions import InvalidState

#: Bytes of messages that are read ahead, and what each takes beside its own.
_AHEAD = 1 << 16
_OVERHEAD = 1 << 10


class WebsocketProtocol(WebSocketsSansIOProtocol):
    """
    A websocket that is read on while a message waits, up to a bound.

    To stop and start reading around each message takes two system calls, which is a
    part of what a small one takes altogether.
    """

    _ahead = 0

    def send_receive_event_to_app(self) -> None:
        self._ahead += sum(map(len, self.frames)) + _OVERHEAD
        if self._ahead >= _AHEAD:
            super().send_receive_event_to_app()
            return
        paused, self.read_paused = self.read_paused, True
        super().send_receive_event_to_app()
        self.read_paused = paused

    async def receive(self) -> Any:
        queue = self.queue
        message = await queue.get()
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
            await super().send(message)
            return
        # As it is for most messages.
        try:
            self.conn.send_binary(data)
        except InvalidState:
            raise ClientDisconnected from None
        self.transport.write(b"".join(self.conn.data_to_send()))
