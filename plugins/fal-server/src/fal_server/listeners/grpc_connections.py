"""
gRPC connections of clients, in HTTP/2.

A client that has shown no key may do little: what it opens is refused at once, few of its
frames are read, and nothing of its messages.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Iterable
from typing import Any, cast

import grpc
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    ConnectionTerminated,
    DataReceived,
    Event,
    RemoteSettingsChanged,
    RequestReceived,
    StreamEnded,
    StreamReset,
    WindowUpdated,
)
from h2.exceptions import H2Error
from h2.settings import SettingCodes

from fal_server.limits import Limits
from fal_server.listeners.grpc_calls import Answer, CallFailed, Field, GrpcCall
from fal_server.listeners.http2_meters import Http2Meter, TooMuch
from fal_server.listeners.open_connections import OpenConnection

logger = logging.getLogger(__name__)

#: How many more bytes a client with a key may send ahead of what is read, over all streams.
_AHEAD = 16 << 20

#: The most bytes of a message that are written at once.
_PART = 1 << 18

#: Seconds that a client has to read why its connection ends.
_LINGER = 0.5

# They would write the keys of clients into the log, which each request has among its fields.
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class GrpcServer:
    """
    Answers the calls of gRPC connections.

    Arguments:
        answer: Gives the messages that answer a call, and raises :class:`CallFailed` where it
            ends otherwise than in order. It is cancelled when the client has gone.
    """

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self.answer = answer
        self.limits = limits
        self.tasks: set[asyncio.Task[None]] = set()
        self._connections: set[GrpcConnection] = set()

    def connect(self, visit: OpenConnection) -> GrpcConnection:
        """
        Make the protocol of a connection.
        """
        made = GrpcConnection(self, visit)
        self._connections.add(made)
        return made

    def forget(self, connection: GrpcConnection) -> None:
        """
        Note that a connection has ended.
        """
        self._connections.discard(connection)

    def abort(self) -> None:
        """
        End all connections at once.
        """
        for connection in list(self._connections):
            connection.abort()

    async def close(self, seconds: float) -> None:
        """
        End all connections at once, and wait so long for what has answered their calls.
        """
        self.abort()
        for task in self.tasks:
            task.cancel()
        if self.tasks:
            await asyncio.wait([*self.tasks], timeout=seconds)


class GrpcConnection(asyncio.Protocol):
    """
    One connection.
    """

    def __init__(self, server: GrpcServer, visit: OpenConnection) -> None:
        self._server = server
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        configuration = H2Configuration(client_side=False, header_encoding=None)
        self._http2 = H2Connection(configuration)
        self._meter = Http2Meter(visit)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._calls: dict[int, GrpcCall] = {}
        self._is_known = self._is_over = False
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        #: It is set, and replaced, when a client may take more.
        self._window = asyncio.Event()

    # -- the transport ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """
        Begin to speak HTTP/2.
        """
        # The transports of uvloop do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._visit.abort = self.abort
        self._timer = self._loop.call_later(self._server.limits.longest_idle, self._end_idle)
        self._http2.initiate_connection()
        self.flush()

    def connection_lost(self, error: Exception | None) -> None:
        """
        Cancel the calls.
        """
        self._is_over = True
        if self._timer is not None:
            self._timer.cancel()
        for call in [*self._calls.values()]:
            call.cancel()
        self._server.forget(self)
        self._visit.has_ended()

    def eof_received(self) -> bool:
        """
        Close it, as its client has.
        """
        return False

    def pause_writing(self) -> None:
        """
        Read no more while the client does not read what was sent.
        """
        self._is_writable.clear()
        if self._transport is not None and not self._is_over:
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """
        Read on.
        """
        self._is_writable.set()
        if self._transport is not None and not self._is_over:
            self._transport.resume_reading()

    def abort(self) -> None:
        """
        End it at once.
        """
        self._is_over = True
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """
        Read what has come.
        """
        if self._is_over:
            return
        try:
            self._meter.take(data)
            events = self._http2.receive_data(data)
        except TooMuch:
            self._http2.close_connection(ErrorCodes.ENHANCE_YOUR_CALM)
            self._end("too much")
            return
        except H2Error as error:
            self._end(type(error).__name__)
            return
        for event in events:
            self._take(event)
        self.flush()

    # -- what a client sends ---------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, ConnectionTerminated):
            self._end("It was closed")
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._window.set()
            self._window = asyncio.Event()
        elif isinstance(event, DataReceived | StreamEnded | StreamReset):
            self._take_part(event, event.stream_id or 0)

    def _take_part(self, event: DataReceived | StreamEnded | StreamReset, number: int) -> None:
        """
        Give a call what has come of it.
        """
        call = self._calls.get(number)
        if isinstance(event, DataReceived):
            size = event.flow_controlled_length or 0
            if call is None:
                self.acknowledge(size, number)
            else:
                call.feed(event.data or b"", size)
        elif call is not None:
            call.feed_end() if isinstance(event, StreamEnded) else call.cancel()

    def _begin(self, event: RequestReceived) -> None:
        """
        Begin to answer a call.
        """
        limits, number = self._server.limits, event.stream_id or 0
        fields: Any = event.headers
        call = GrpcCall(self, number, self._visit, fields, limits.largest_message)
        if not call.is_grpc:
            call.refuse()
            return
        if len(self._server.tasks) >= limits.most_calls:
            sentence = f"{limits.most_calls} calls run at once. Send it again in a while."
            call.end(grpc.StatusCode.RESOURCE_EXHAUSTED, sentence)
            return
        self._calls[number] = call
        task = call.task = self._loop.create_task(self._answer(call))
        self._server.tasks.add(task)
        task.add_done_callback(functools.partial(self._forget, call))

    async def _answer(self, call: GrpcCall) -> None:
        try:
            async with contextlib.aclosing(self._server.answer(call)) as messages:
                async for message in messages:
                    await call.send(message)
            call.greet(())
            call.end(grpc.StatusCode.OK, metadata=call.trailing)
        except CallFailed as failure:
            call.end(failure.status, str(failure), failure.metadata)
        except Exception:
            logger.exception("%s failed", call.method)
            call.end(grpc.StatusCode.INTERNAL, "An internal error occurred.")

    def _forget(self, call: GrpcCall, task: asyncio.Task[None]) -> None:
        """
        Note that the task of a call has ended.
        """
        self._calls.pop(call.number, None)
        self._server.tasks.discard(task)
        self.acknowledge(call.leave(), call.number)

    def recognise(self) -> None:
        """
        Let a client that has shown a valid key do more.
        """
        if self._is_known or self._is_over:
            return
        self._is_known = True
        most = self._server.limits.most_calls
        self._http2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self._http2.increment_flow_control_window(_AHEAD)
        self.flush()

    # -- what is sent ----------------------------------------------------------------------

    def flush(self) -> None:
        """
        Write what HTTP/2 has to send.
        """
        data = self._http2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def send_fields(
        self, number: int, fields: Iterable[Field], *, is_last: bool, resets: bool
    ) -> None:
        """
        Send header fields over a stream, and break off what the client still sends over it.
        """
        if self._is_over:
            return
        with contextlib.suppress(H2Error):
            self._http2.send_headers(number, [*fields], end_stream=is_last)
            if resets:
                self._http2.reset_stream(number, ErrorCodes.NO_ERROR)
        self.flush()

    async def send_data(self, number: int, data: bytes) -> None:
        """
        Send bytes over a stream, as fast as the client takes them.
        """
        at = 0
        while at < len(data):
            part = 0
            while part < _PART and at < len(data):
                sent = self._send_frame(number, data, at)
                if not sent:
                    break
                at += sent
                part += sent
            self.flush()
            if not part:
                await self._window.wait()
            await self._is_writable.wait()

    def acknowledge(self, size: int, number: int, more: int = 0) -> None:
        """
        Let the client send so many bytes again, and over this stream *more* than before.
        """
        if self._is_over:
            return
        with contextlib.suppress(H2Error):
            if size:
                self._http2.acknowledge_received_data(size, number)
            if more:
                self._http2.increment_flow_control_window(more, number)
        self.flush()

    def _send_frame(self, number: int, data: bytes, at: int) -> int:
        """
        Send as much of *data* as fits into one frame, and return how much that is.
        """
        try:
            room = self._http2.local_flow_control_window(number)
            room = min(room, self._http2.max_outbound_frame_size, len(data) - at)
            if room > 0:
                self._http2.send_data(number, data[at : at + room])
        except H2Error:
            # The client has gone, and the task of the call is cancelled in this moment.
            raise asyncio.CancelledError from None
        return max(0, room)

    # -- ends ------------------------------------------------------------------------------

    def _end(self, reason: str) -> None:
        """
        End it, and tell the client why, if it reads that.
        """
        logger.debug("A gRPC connection ends: %s", reason)
        self.flush()
        self._is_over = True
        if self._transport is not None and not self._transport.is_closing():
            # What is closed over TLS would be read on, until the client closes it as well.
            self._transport.pause_reading()
            self._loop.call_later(_LINGER, self._transport.abort)
        for call in [*self._calls.values()]:
            call.cancel()

    def _end_idle(self) -> None:
        if not self._visit.is_known:
            self.abort()
