"""gRPC calls: what a client sends of one, and how it is answered."""

from __future__ import annotations

import asyncio
import functools
import re
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from typing import Protocol, TypeAlias

import grpc

from fal_server.listeners.grpc_encodings import (
    CONTENT_TYPE,
    PREFIX,
    SMALL,
    CallFailed,
    Field,
    Metadata,
    ending_fields,
    greeting_fields,
    inflate,
    read_metadata,
    refuse_large,
)
from fal_server.listeners.http_connections import RELAY
from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.urls import read_host

#: The metadata key by which a replica that relays a call says what the caller calls the server.
SERVER_HOST = "fal-core-server-host"

#: How many more bytes of a large message a client may send before they are read.
_LARGE_WINDOW = 1 << 20

#: How a client writes the time of a call, and the seconds of its units.
_TIMEOUT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


class CallConnection(Protocol):
    """
    What a call needs of its connection, which knows the class of calls. A call is told apart
    by the number of its stream.
    """

    def send_fields(
        self, number: int, fields: Iterable[Field], *, is_last: bool, resets: bool
    ) -> None:
        """Send header fields over a stream, and reset it if the client still sends over it."""

    async def send_data(self, number: int, data: bytes) -> None:
        """Send bytes over a stream, as fast as the client takes them."""

    def acknowledge(self, size: int, number: int, more: int = 0) -> None:
        """Give *size* bytes back to the client's windows, and *more* to that of the stream."""

    def recognise(self, call: GrpcCall) -> None:
        """Note that the client has shown a valid key by *call*."""

    def run(self, work: Callable[[], bytes]) -> Awaitable[bytes]:
        """Run *work* in one of a few threads."""


class GrpcCall:
    """
    One call. Its messages are iterated over.

    Arguments:
        fields: The header fields of its request.

        largest: The largest message that is read.

    Attributes:
        number: The number of its stream.

        method: The whole name of its method, as in ``/package.Service/Method``.

        metadata: What its client sends besides, by their keys.

        trailing: Metadata that its client gets in the end.

        is_complete: Whether its client has sent all messages.

        task: What answers it, once that has begun.

        timer: Ends it when its time is over. None where it has all the time.
    """

    def __init__(
        self,
        connection: CallConnection,
        number: int,
        visit: OpenConnection,
        fields: Iterable[tuple[bytes, bytes]],
        largest: int,
    ) -> None:
        decoded = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
        # h2 has checked that there is one of each.
        self._http = dict(decoded)
        self._connection = connection
        self.number = number
        self.task: asyncio.Task[None] | None = None
        self.timer: asyncio.TimerHandle | None = None
        self._visit = visit
        self._largest = largest
        self.method = self._http.get(":path", "")
        self.metadata: Metadata = [*read_metadata(decoded)]
        self.trailing: Metadata = ()
        self.is_complete = False
        self._has_greeted = self._is_over = self._has_grown = False
        self._received = bytearray()
        #: How many received bytes are not acknowledged yet.
        self._unacknowledged = 0
        self._news = asyncio.Event()

    @property
    def is_grpc(self) -> bool:
        """Whether it is a gRPC call. It may be any request over HTTP/2."""
        kind = self._http.get("content-type", "")
        return self._http.get(":method") == "POST" and kind.startswith(CONTENT_TYPE)

    def read_timeout(self) -> float | None:
        """
        Return the seconds that its client gives it. None for any number.

        Raises:
            CallFailed: They cannot be read.
        """
        written = self._http.get("grpc-timeout")
        if written is None:
            return None
        found = _TIMEOUT.fullmatch(written)
        if found is None:
            raise CallFailed(
                grpc.StatusCode.INTERNAL, f"The timeout {written[:20]!r} cannot be read."
            )
        return int(found[1]) * _UNITS[found[2]]

    @property
    def texts(self) -> Mapping[str, str]:
        """Its metadata without what is bytes."""
        return {key: value for key, value in self.metadata if isinstance(value, str)}

    @property
    def server_host(self) -> str:
        """
        The name by which its caller reaches the server: a host, perhaps with a port. Empty
        where that is unknown. A replica that relays the call sends the name along.
        """
        told = self.texts
        if RELAY.lower() in told:
            self._visit.check_relay(told[RELAY.lower()])
            if self._visit.is_relayed:
                return read_host(told.get(SERVER_HOST, ""))
        return read_host(self._http.get(":authority") or self._http.get("host", ""))

    def recognise(self) -> None:
        """
        Note that its caller has shown a valid key.

        Raises:
            CallFailed: As many calls run as may.
        """
        self._visit.recognise()
        self._connection.recognise(self)

    # -- messages --------------------------------------------------------------------------

    def feed(self, data: bytes, size: int) -> None:
        """Note that *data* has come, which took *size* bytes of the client's windows."""
        self._received += data
        self._unacknowledged += size
        self._news.set()

    def feed_end(self) -> None:
        """Note that its client has sent all."""
        self.is_complete = True
        self._news.set()

    def __aiter__(self) -> GrpcCall:
        return self

    async def __anext__(self) -> bytes:
        while True:
            size = self._measure()
            if size and len(self._received) >= size:
                is_compressed, content = self._take(size)
                return await self._inflate(content) if is_compressed else content
            if self.is_complete:
                if self._received:
                    raise CallFailed(grpc.StatusCode.INTERNAL, "A message is not complete.")
                raise StopAsyncIteration
            self._ask_for_more(size)
            self._news.clear()
            await self._news.wait()

    def _ask_for_more(self, wanted: int) -> None:
        """
        Let the client send the rest of a message of *wanted* bytes, much at once if that is
        large.
        """
        more = 0
        if wanted > _LARGE_WINDOW and not self._has_grown:
            self._has_grown, more = True, _LARGE_WINDOW
        self._acknowledge(self._unacknowledged, more)

    def _acknowledge(self, size: int, more: int = 0) -> None:
        self._unacknowledged -= size
        if size or more:
            self._connection.acknowledge(size, self.number, more)

    def _measure(self) -> int:
        """Return the size of the next message, and 0 where its beginning has not come."""
        if len(self._received) < PREFIX.size:
            return 0
        size: int = PREFIX.unpack_from(self._received)[1]
        if size > self._largest:
            raise refuse_large(size, self._largest)
        return PREFIX.size + size

    def _take(self, size: int) -> tuple[bool, bytes]:
        """Return whether the next message is compressed, and its content."""
        is_compressed = bool(self._received[0])
        with memoryview(self._received) as view:
            content = bytes(view[PREFIX.size : size])
        del self._received[:size]
        # The window is for all calls of the connection, and this one may run for hours.
        self._acknowledge(max(0, self._unacknowledged - len(self._received)))
        return is_compressed, content

    async def _inflate(self, content: bytes) -> bytes:
        encoding = self._http.get("grpc-encoding", "identity")
        work = functools.partial(inflate, content, encoding, self._largest)
        return work() if len(content) <= SMALL else await self._connection.run(work)

    # -- what is answered ------------------------------------------------------------------

    def greet(self, metadata: Metadata) -> None:
        """Send what comes before the first message, once."""
        if not self._has_greeted and not self._is_over:
            self._has_greeted = True
            self._send_fields(greeting_fields(metadata), is_last=False)

    async def send(self, message: bytes) -> None:
        """Send a message."""
        self.greet(())
        head = PREFIX.pack(0, len(message))
        await self._connection.send_data(self.number, head + message)

    def end(self, status: grpc.StatusCode, sentence: str = "", metadata: Metadata = ()) -> None:
        """End it, if that has not happened."""
        if self._is_over:
            return
        self._is_over = True
        fields = [] if self._has_greeted else greeting_fields(())
        fields += ending_fields(status, sentence, metadata)
        self._send_fields(fields, is_last=True)

    def refuse(self) -> None:
        """Answer a request that is no call."""
        self._is_over = True
        self._send_fields([(":status", "415")], is_last=True)

    def stop(self, status: grpc.StatusCode, sentence: str) -> None:
        """End it, and cancel what answers it."""
        self.end(status, sentence)
        if self.task is not None:
            self.task.cancel()

    def cancel(self) -> None:
        """Cancel it, as its client has gone."""
        self.leave()
        if self.task is not None:
            self.task.cancel()

    def leave(self) -> None:
        """Read and send nothing more of it, and give the client back what it takes of the window."""
        self._is_over = True
        self._received.clear()
        self._acknowledge(self._unacknowledged)

    def _send_fields(self, fields: list[Field], *, is_last: bool) -> None:
        resets = is_last and not self.is_complete
        self._connection.send_fields(self.number, fields, is_last=is_last, resets=resets)


#: Gives the messages that answer a call, or raises :class:`CallFailed`.
Answer: TypeAlias = Callable[[GrpcCall], AsyncGenerator[bytes, None]]
