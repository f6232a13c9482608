"""The protocol of HTTP connections: uvicorn's, with limits on the head of a request."""

from __future__ import annotations

import asyncio
import functools
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from fal_serve.serving.listeners import LOCAL

#: The most bytes of the head of a request: its line and all headers.
_LONGEST_HEAD = 1 << 18


class ServiceProtocol(HttpToolsProtocol):
    """
    An HTTP connection with limits on the size and the time of a request's head.

    Arguments:
        head_timeout: Seconds in which the head of a request has to be complete.

        is_handed: Whether another process of this machine has accepted the connection, and
            stands for the client.
    """

    def __init__(
        self, *args: Any, head_timeout: float, is_handed: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(*args, **kwargs)
        self._is_handed = is_handed
        if is_handed:
            protocol: Any = self.ws_protocol_class
            protocol = functools.partial(protocol, is_handed=True)
            self.ws_protocol_class = protocol
        self._head_timeout = head_timeout
        self._head_size = 0
        self._head_timer: asyncio.TimerHandle | None = None

    # Annotated as in uvicorn: asyncio passes a transport for reading and writing.
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if self.client is None or self._is_handed:
            # At a Unix socket, which only this machine reaches.
            self.client, self.server = LOCAL
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._forget_head()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        cycle = self.cycle
        if cycle is not None and (not cycle.response_complete or cycle.more_body):
            # The common case: the head is complete, and its request is being answered.
            if self._head_timer is not None:
                self._forget_head()
            return
        self._head_size += len(data)
        if self._head_timer is None:
            self._await_head()
        if self._head_size > _LONGEST_HEAD and not self.transport.is_closing():
            self.send_400_response("The head of the request is too long.")

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(
            self._head_timeout, self.timeout_keep_alive_handler
        )

    def _forget_head(self) -> None:
        self._head_size = 0
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None
