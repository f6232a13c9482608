"""
A gRPC server of the tests, in the event loop of a test, and a client that sends what its test
says.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

import grpc
import grpc.aio
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import (
    ResponseReceived,
    StreamEnded,
    TrailersReceived,
)
from polling import PATIENCE

from fal_server.limits import Limits
from fal_server.listeners.grpc_calls import GrpcCall
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.grpc_encodings import CallFailed
from fal_server.listeners.open_connections import OpenConnection, OpenConnections

#: The largest message of the server of the tests.
LARGEST = 8 << 20


class Answers:
    """What the server of the tests answers, by the names of its methods."""

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()
        self.released = asyncio.Event()
        self.counted = 0
        self.tasks: list[Any] = []

    async def answer(self, call: GrpcCall) -> AsyncIterator[bytes]:
        async for message in getattr(self, call.method.rpartition("/")[2])(call):
            yield message

    async def echo(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        call.greet([("x-greeting", "hello"), ("x-bytes-bin", b"\0\xff")])
        call.trailing = [("x-end", "bye")]
        async for message in call:
            yield message

    async def fail(self, call: GrpcCall) -> AsyncIterator[bytes]:
        shown = [each for each in call.metadata if each[0].startswith("x-")]
        raise CallFailed(grpc.StatusCode.NOT_FOUND, "100 % wrong: ü\n", shown)
        yield b""

    async def crash(self, call: GrpcCall) -> AsyncIterator[bytes]:
        raise LookupError("secret")
        yield b""

    async def hang(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        self.begun.set()
        yield b"begun"
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

    async def keep(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        yield await anext(call)
        await self.released.wait()

    async def read_none(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        yield b"begun"
        await self.released.wait()

    async def count(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        while True:
            self.counted += 1
            yield bytes(60_000)

    async def revoked(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        self.tasks.append(call.task)
        self.begun.set()
        try:
            while True:
                yield bytes(60_000)
        except asyncio.CancelledError:
            if call.metadata and ("x-why", "revoked") in call.metadata:
                raise CallFailed(grpc.StatusCode.UNAUTHENTICATED, "It was revoked.") from None
            raise

    async def stranger(self, call: GrpcCall) -> AsyncIterator[bytes]:
        self.begun.set()
        await self.released.wait()
        yield b""

    async def host(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        yield call.server_host.encode()


class Listening:
    """A server of the tests, in the loop of a test."""

    def __init__(self, **limits: Any) -> None:
        self.answers = Answers()
        self.connections = OpenConnections(Limits())
        self.accepted: asyncio.Queue[OpenConnection] = asyncio.Queue()
        limits = {"largest_message": LARGEST, **limits}
        self.server = GrpcServer(self.answers.answer, Limits(**limits))

    def accept(self) -> asyncio.Protocol:
        visit = self.connections.add("127.0.0.1")
        assert visit is not None
        self.accepted.put_nowait(visit)
        return self.server.connect(visit)

    async def __aenter__(self) -> Listening:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.accept, "127.0.0.1", 0)
        self.port: int = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        await self.server.close(0.1)
        await asyncio.sleep(0)
        assert not self.server.running.tasks

    def channel(self, target: str = "127.0.0.1", **options: Any) -> grpc.aio.Channel:
        # Else a call may go on over the connection of an earlier one.
        named = {"grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": -1}
        named |= {f"grpc.{name}": value for name, value in options.items()}
        return grpc.aio.insecure_channel(f"{target}:{self.port}", options=[*named.items()])

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)

    @contextlib.asynccontextmanager
    async def client(self) -> AsyncIterator[Client]:
        reader, writer = await self.raw()
        try:
            yield Client(reader, writer)
        finally:
            writer.close()


class Client:
    """A client that sends what its test says, in HTTP/2."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.http2 = H2Connection(H2Configuration(client_side=True, header_encoding="utf-8"))
        self.http2.initiate_connection()
        self.events: list[Any] = []
        self.has_ended = False

    def begin(self, method: str, *fields: tuple[str, str], ends: bool = False) -> int:
        number = self.http2.get_next_available_stream_id()
        named = [
            (":method", "POST"),
            (":path", f"/test/{method}"),
            (":scheme", "http"),
            (":authority", "x"),
            ("content-type", "application/grpc"),
            *fields,
        ]
        self.http2.send_headers(number, named, end_stream=ends)
        return number

    def send(self, number: int, size: int, *, ends: bool = True) -> None:
        message = b"\0" + size.to_bytes(4, "big") + bytes(size)
        for at in range(0, len(message), 1 << 14):
            part = message[at : at + (1 << 14)]
            is_last = at + len(part) == len(message)
            self.http2.send_data(number, part, end_stream=ends and is_last)

    def flush(self) -> None:
        self.writer.write(self.http2.data_to_send())

    async def read(self) -> None:
        """Read what comes next, and answer it as any client does."""
        data = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
        self.has_ended = not data
        self.events += self.http2.receive_data(data)
        self.flush()

    async def read_until(self, kind: Any, number: int | None = None) -> Any:
        """Return the first event of a kind, of one stream or of any."""
        while True:
            for event in self.events:
                if isinstance(event, kind) and (number is None or event.stream_id == number):
                    return event
            assert not self.has_ended
            await self.read()

    async def status(self, number: int) -> str:
        """Return the gRPC status of a call."""
        await self.read_until(StreamEnded, number)
        fields: dict[Any, Any] = {}
        for event in self.events:
            is_head = isinstance(event, ResponseReceived | TrailersReceived)
            if is_head and event.stream_id == number:
                fields |= dict(event.headers)
        return str(fields["grpc-status"])

    async def gets_room(self, size: int) -> None:
        """Wait until so many bytes may be sent over all streams."""
        while self.http2.outbound_flow_control_window < size:
            assert not self.has_ended
            await self.read()
