"""
gRPC connections of clients, in HTTP/2.

Of a client that has shown no key, few frames are read and no message. Its calls take no room
of those of others.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Any, cast

from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
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
from hyperframe.frame import GoAwayFrame

from fal_server.limits import Limits
from fal_server.listeners.grpc_calls import Answer, GrpcCall
from fal_server.listeners.grpc_encodings import Field
from fal_server.listeners.http2_meters import Http2Meter, TooMuch
from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.running_calls import RunningCalls
from fal_server.listeners.turns import Reading
from fal_server.state.tasks import wait_for_event

logger = logging.getLogger(__name__)

#: How many more bytes a client with a key may send over all streams before they are read.
_KNOWN_WINDOW = 16 << 20

#: How many streams a client without a key may have at once, which is what h2 tells it.
_STREAMS_OF_STRANGERS = 50

#: The most bytes of a message that are written at once.
_PART = 1 << 18

#: Seconds that a client has to read why its connection ends.
_LINGER = 0.5

#: Seconds without a sign of a client after which it is asked for one, and how often it is. A
#: server that stood still finds the answer only after it has looked once more.
_SILENCE, _TRIES = 20.0, 3

# They would write the keys of clients into the log, which each request has among its fields.
for _name in ("hpack.hpack", "hpack.table"):
    logging.getLogger(_name).setLevel(logging.WARNING)


class GrpcServer:
    """
    Answers the calls of gRPC connections.

    Arguments:
        answer: Answers one, as :class:`RunningCalls` has it.

    Attributes:
        is_leaving: Whether it takes no more of them.
    """

    def __init__(self, answer: Answer, limits: Limits) -> None:
        self.limits = limits
        self.running = RunningCalls(answer, limits)
        self.is_leaving = False
        self._connections: set[GrpcConnection] = set()
        self._all_ended = asyncio.Event()

    def connect(self, visit: OpenConnection) -> GrpcConnection:
        """Make the protocol of a connection."""
        made = GrpcConnection(self, visit)
        self._connections.add(made)
        return made

    def forget(self, connection: GrpcConnection) -> None:
        """Note that a connection has ended."""
        self._connections.discard(connection)
        if not self._connections:
            self._all_ended.set()

    def go_away(self) -> None:
        """Take no more calls. Connections end with their last call."""
        self.is_leaving = True
        for connection in [*self._connections]:
            connection.go_away()

    async def close(self, seconds: float) -> None:
        """Give the calls so many seconds to end, and cancel those that have not."""
        self.go_away()
        if self._connections:
            self._all_ended.clear()
            await wait_for_event(self._all_ended, seconds)
        for connection in [*self._connections]:
            connection.abort()
        await self.running.close()


class GrpcConnection(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: GrpcServer, visit: OpenConnection) -> None:
        self._server = server
        self._visit = visit
        self._loop = asyncio.get_running_loop()
        configuration = H2Configuration(client_side=False, header_encoding=None)
        self._http2 = H2Connection(configuration)
        self._meter = Http2Meter(visit)
        self._reading = Reading(server.running.line, visit, self._read)
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._watching: asyncio.TimerHandle | None = None
        self._calls: dict[int, GrpcCall] = {}
        self._most_streams = _STREAMS_OF_STRANGERS
        self._has_more_room = self._is_over = self._is_leaving = False
        self._silent = 0  # How often in a row there was no sign of the client.
        self._is_writable = asyncio.Event()
        self._is_writable.set()
        #: It is set, and replaced, when a client may take more.
        self._window = asyncio.Event()

    # -- the transport ---------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to speak HTTP/2."""
        # The transports of uvloop do not inherit from asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._visit.abort = self.abort
        if self._is_over:
            self.abort()
            return
        self._reading.transport = self._transport
        self._timer = self._loop.call_later(self._server.limits.longest_idle, self._end_idle)
        self._watching = self._loop.call_later(_SILENCE, self._look)
        self._http2.initiate_connection()
        self._count_streams_here()
        self.flush()
        if self._server.is_leaving:
            self.go_away()

    def connection_lost(self, error: Exception | None) -> None:
        """Cancel the calls."""
        self._is_over = True
        self._reading.end()
        for timer in (self._timer, self._watching):
            if timer is not None:
                timer.cancel()
        for call in [*self._calls.values()]:
            call.cancel()
        self._server.forget(self)
        self._visit.has_ended()

    def eof_received(self) -> bool:
        """Close it, as its client has."""
        return False

    def pause_writing(self) -> None:
        """Read no more while the client does not read what was sent."""
        self._is_writable.clear()
        self._reading.hold(is_held=True)

    def resume_writing(self) -> None:
        """Read on."""
        self._is_writable.set()
        self._silent = 0
        self._reading.hold(is_held=False)

    def abort(self) -> None:
        """End it at once. It may not even have begun."""
        self._is_over = True
        self._reading.end()
        if self._transport is not None:
            self._transport.abort()

    def data_received(self, data: bytes) -> None:
        """Read what has come, or wait for that."""
        self._silent = 0
        if not self._is_over:
            self._reading.take(data)

    def _read(self, data: bytes) -> None:
        try:
            events = self._http2.receive_data(self._meter.take(data))
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
        if self._meter.has_left and not self._is_leaving:
            self._is_leaving = True
            self._end_if_done()

    # -- what a client sends ---------------------------------------------------------------

    def _take(self, event: Event) -> None:
        if isinstance(event, RequestReceived):
            self._begin(event)
        elif isinstance(event, WindowUpdated | RemoteSettingsChanged):
            self._window.set()
            self._window = asyncio.Event()
        elif isinstance(event, DataReceived | StreamEnded | StreamReset):
            self._take_part(event, event.stream_id or 0)

    def _take_part(self, event: DataReceived | StreamEnded | StreamReset, number: int) -> None:
        """Give a call what has come of it."""
        call = self._calls.get(number)
        if isinstance(event, DataReceived):
            size = event.flow_controlled_length or 0
            if call is None:
                self.acknowledge(size, number)
            else:
                call.feed(event.data or b"", size)
        elif call is not None and isinstance(event, StreamEnded):
            call.feed_end()
        elif call is not None:
            # Its client may begin another one, however long this one takes to end.
            del self._calls[number]
            call.cancel()

    def _begin(self, event: RequestReceived) -> None:
        """Begin to answer a call."""
        limits, number = self._server.limits, event.stream_id or 0
        fields: Any = event.headers
        call = GrpcCall(self, number, self._visit, fields, limits.largest_message)
        if not call.is_grpc:
            call.refuse()
            return
        if self._server.is_leaving or len(self._calls) >= self._most_streams:
            # Clients make such a call again, over another connection or later.
            self._http2.reset_stream(number, ErrorCodes.REFUSED_STREAM)
            return
        is_known = self._visit.is_known
        if self._server.running.begin(call, is_known=is_known, ended=self._forget):
            self._calls[number] = call

    def _forget(self, call: GrpcCall) -> None:
        """Note that a call has ended."""
        self._calls.pop(call.number, None)
        call.leave()
        self._end_if_done()

    def recognise(self, call: GrpcCall) -> None:
        """
        Let the client do more, as it has shown a valid key by *call*.

        Raises:
            CallFailed: As many calls run as may.
        """
        self._server.running.recognise(call)
        if self._has_more_room or self._is_over:
            return
        self._has_more_room = True
        most = self._most_streams = self._server.limits.most_calls
        self._http2.update_settings({SettingCodes.MAX_CONCURRENT_STREAMS: most})
        self._count_streams_here()
        self._http2.increment_flow_control_window(_KNOWN_WINDOW)
        self.flush()

    def _count_streams_here(self) -> None:
        """
        Let h2 forget how many streams the client was told that it may have: it would end the
        connection for one too many.
        """
        del self._http2.local_settings[SettingCodes.MAX_CONCURRENT_STREAMS]

    def run(self, work: Callable[[], bytes]) -> Awaitable[bytes]:
        """Run *work* in one of a few threads of the server."""
        return self._loop.run_in_executor(self._server.running.inflating, work)

    # -- what is sent ----------------------------------------------------------------------

    def flush(self) -> None:
        """Write what HTTP/2 has to send."""
        self._write(self._http2.data_to_send())

    def _write(self, data: bytes) -> None:
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def send_fields(
        self, number: int, fields: Iterable[Field], *, is_last: bool, resets: bool
    ) -> None:
        """Send header fields over a stream, and reset it if the client still sends over it."""
        if self._is_over:
            return
        with contextlib.suppress(H2Error):
            self._http2.send_headers(number, [*fields], end_stream=is_last)
            if resets:
                self._http2.reset_stream(number, ErrorCodes.NO_ERROR)
        self.flush()

    async def send_data(self, number: int, data: bytes) -> None:
        """Send bytes over a stream, as fast as the client takes them."""
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
        """Give *size* bytes back to the client's windows, and *more* to that of the stream."""
        if self._is_over:
            return
        with contextlib.suppress(H2Error):
            if size:
                self._http2.acknowledge_received_data(size, number)
            if more:
                self._http2.increment_flow_control_window(more, number)
        self.flush()

    def _send_frame(self, number: int, data: bytes, at: int) -> int:
        """Send as much of *data* as fits into one frame, and return how much that is."""
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
        """End it, and tell the client why, if it reads that."""
        logger.debug("A gRPC connection ends: %s", reason)
        self.flush()
        self._is_over = True
        self._reading.end()
        if self._transport is not None and not self._transport.is_closing():
            # What is closed over TLS would be read on, until the client closes it as well.
            self._transport.pause_reading()
            self._loop.call_later(_LINGER, self._transport.abort)
        for call in [*self._calls.values()]:
            call.cancel()

    def _end_idle(self) -> None:
        if not self._visit.is_known:
            self.abort()

    def _look(self) -> None:
        """Ask a silent client for a sign, and end the connection where none comes."""
        self._watching = self._loop.call_later(_SILENCE, self._look)
        self._silent += 1
        if self._silent > _TRIES:
            self.abort()
        elif self._silent > 1 and not self._is_over:
            self._http2.ping(b"fal-core")
            self.flush()

    def go_away(self) -> None:
        """Let the client begin no more calls here, and end it with the last one that runs."""
        if self._is_leaving or self._is_over or self._transport is None:
            return
        self._is_leaving = True
        # Of h2, the connection would be over for the calls that run as well.
        last = self._http2.highest_inbound_stream_id
        self._write(GoAwayFrame(0, last_stream_id=last).serialize())
        self._end_if_done()

    def _end_if_done(self) -> None:
        """End it if one side has left and no call runs. Most clients end it first."""
        if self._is_leaving and not self._calls and not self._is_over:
            self._loop.call_later(_LINGER, self._leave)

    def _leave(self) -> None:
        if self._transport is None or self._calls:
            return
        self._is_over = True
        # What is closed over TLS would be open until the client closes it as well.
        if self._transport.get_write_buffer_size():
            self._transport.close()
        else:
            self._transport.abort()
