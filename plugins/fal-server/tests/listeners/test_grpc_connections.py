"""
gRPC connections: what clients send and get, and what strangers may.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import random
import socket
import threading
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

import floods
import grpc
import grpc.aio
import pytest
from api_connections import connect, trusting
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
    TrailersReceived,
)
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame
from isolate_proto import ListSecretsRequest
from polling import PATIENCE

from fal_server.limits import Limits
from fal_server.listeners import grpc_connections
from fal_server.listeners.grpc_calls import SERVER_HOST, CallFailed, GrpcCall
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.http_connections import RELAY
from fal_server.listeners.open_connections import OpenConnection, OpenConnections

#: The largest message of the server of the tests.
LARGEST = 8 << 20


class Answers:
    """
    What the server of the tests answers, by the names of its methods.
    """

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
        await asyncio.Event().wait()
        yield b""

    async def host(self, call: GrpcCall) -> AsyncIterator[bytes]:
        call.recognise()
        yield call.server_host.encode()


class Listening:
    """
    A server of the tests, in the loop of a test.
    """

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
        assert not self.server.tasks

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
    """
    A client that sends what its test says, in HTTP/2.
    """

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
        """
        Read what comes next, and answer it as any client does.
        """
        data = await asyncio.wait_for(self.reader.read(1 << 16), PATIENCE)
        self.has_ended = not data
        self.events += self.http2.receive_data(data)
        self.flush()

    async def read_until(self, kind: Any, number: int | None = None) -> Any:
        """
        Return the first event of a kind, of one stream or of any.
        """
        while True:
            for event in self.events:
                if isinstance(event, kind) and (number is None or event.stream_id == number):
                    return event
            assert not self.has_ended
            await self.read()

    async def status(self, number: int) -> str:
        """
        Return the gRPC status of a call.
        """
        await self.read_until(StreamEnded, number)
        fields: dict[Any, Any] = {}
        for event in self.events:
            if isinstance(event, ResponseReceived | TrailersReceived):
                if event.stream_id == number:
                    fields |= dict(event.headers)
        return str(fields["grpc-status"])

    async def gets_room(self, size: int) -> None:
        """
        Wait until so many bytes may be sent over all streams.
        """
        while self.http2.outbound_flow_control_window < size:
            assert not self.has_ended
            await self.read()


def test_messages_pass_both_ways():
    """
    Messages of any size pass whole, with what comes before and after them, compressed or not.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            method = channel.stream_stream("/test/echo")
            for compression in (None, grpc.Compression.Gzip, grpc.Compression.Deflate):
                sent = [b"", b"x", b"y" * 100_000, bytes(LARGEST), b"z"]
                call = method(iter(sent), compression=compression)
                assert [message async for message in call] == sent
                greeting = dict(await call.initial_metadata())
                assert (greeting["x-greeting"], greeting["x-bytes-bin"]) == ("hello", b"\0\xff")
                assert dict(await call.trailing_metadata()) == {"x-end": "bye"}
            unary = channel.unary_unary("/test/echo")
            found = await asyncio.gather(*(unary(b"%d" % number) for number in range(500)))
            assert found == [b"%d" % number for number in range(500)]

    asyncio.run(main())


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_message_that_is_too_large(compression: Any):
    """
    A message beyond the limit ends its call, and no other one.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            method = channel.unary_unary("/test/echo")
            with pytest.raises(grpc.aio.AioRpcError, match="at most") as caught:
                await method(bytes(LARGEST + 1), compression=compression)
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert await method(b"x") == b"x"

    asyncio.run(main())


def test_calls_that_fail(caplog: pytest.LogCaptureFixture):
    """
    A failure has its status, its sentence and its metadata; of an error nothing is told but
    that there was one.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            for shown in (("x-bytes-bin", bytes(range(256))), ("x-text", "a, b")):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/test/fail")(b"", metadata=[shown])
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
                assert caught.value.details() == "100 % wrong: ü\n"
                assert shown in list(caught.value.trailing_metadata())
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test/crash")(b"")
            assert caught.value.code() is grpc.StatusCode.INTERNAL
            assert "secret" not in str(caught.value.details())

    asyncio.run(main())
    assert "LookupError: secret" in caplog.text


def test_call_ends_with_its_client():
    """
    A call is cancelled when its client cancels it, goes, or when the server ends.
    """

    async def hang(listening: Listening) -> Any:
        listening.answers.begun.clear()
        listening.answers.ended.clear()
        channel = listening.channel()
        call = channel.unary_stream("/test/hang")(b"")
        assert await call.read() == b"begun"
        return channel, call

    async def main() -> None:
        async with Listening() as listening:
            channel, call = await hang(listening)
            call.cancel()
            await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
            await channel.close()
            channel, _ = await hang(listening)
            await channel.close()
            await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
            channel, call = await hang(listening)
            await listening.server.close(0.1)
            assert listening.answers.ended.is_set()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await channel.close()

    asyncio.run(main())


def test_large_answer_waits_for_its_client():
    """
    Of what a client does not take, little is made and kept; it gets all of it when it reads on.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            async with listening.client() as client:
                number = client.begin("count", ends=True)
                client.flush()
                await client.read_until(ResponseReceived, number)
                # Once another call has been answered, this one has had its turn.
                other = channel.unary_unary("/test/host")
                assert await other(b"") == f"127.0.0.1:{listening.port}".encode()
                # Its window has room for one message, and there is one that waits.
                assert listening.answers.counted <= 3
            call = channel.stream_stream("/test/echo")(iter([bytes(LARGEST)] * 3))
            await call.initial_metadata()
            assert await other(b"") == f"127.0.0.1:{listening.port}".encode()
            assert [len(message) async for message in call] == [LARGEST] * 3

    asyncio.run(main())


def test_message_that_was_read_takes_no_room():
    """
    A call that goes on after its message was read leaves the window of its connection to others.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            for _ in range(300):
                number = client.begin("keep")
                client.flush()
                await client.gets_room(61_000)
                client.send(number, 60_000)
                client.flush()
            for each in range(1, number, 2):
                await client.read_until(ResponseReceived, each)
            await client.gets_room(8 << 20)
            listening.answers.released.set()

    asyncio.run(main())


def test_calls_that_their_client_resets_take_no_room():
    """
    What a call took of the window of its connection is there again once it was reset.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            number = client.begin("echo", ends=True)
            client.flush()
            assert await client.status(number) == "0"
            for _ in range(400):
                number = client.begin("read_none")
                client.flush()
                await client.gets_room(61_000)
                client.send(number, 60_000, ends=False)
                client.http2.reset_stream(number)
                client.flush()
            number = client.begin("echo")
            await client.gets_room(61_000)
            client.send(number, 60_000)
            client.flush()
            assert await client.status(number) == "0"

    asyncio.run(main())


def test_large_message_is_not_decompressed_in_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    """
    While a message that is small on its way and large in memory is decompressed, others are
    answered.
    """
    here, made = threading.current_thread(), zlib.decompressobj
    threads: list[bool] = []

    def note(*arguments: Any) -> Any:
        threads.append(threading.current_thread() is here)
        return made(*arguments)

    monkeypatch.setattr(zlib, "decompressobj", note)

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            method = channel.unary_unary("/test/echo")
            for size in (100, LARGEST):
                sent = bytes(size)
                assert await method(sent, compression=grpc.Compression.Gzip) == sent

    asyncio.run(main())
    assert threads == [True, False]


@pytest.mark.parametrize("size", [100, 1 << 20])
def test_compressed_message_that_is_cut_off(size: int):
    """
    A compressed message without its end is refused.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            content = gzip.compress(random.Random(1).randbytes(size))[:-10]
            number = client.begin("echo", ("grpc-encoding", "gzip"))
            message = b"\1" + len(content).to_bytes(4, "big") + content
            for at in range(0, len(message), 1 << 14):
                part = message[at : at + (1 << 14)]
                while client.http2.local_flow_control_window(number) < len(part):
                    await client.read()
                client.http2.send_data(number, part)
                client.flush()
            client.http2.end_stream(number)
            client.flush()
            assert await client.status(number) == "13"

    asyncio.run(main())


@pytest.mark.parametrize(
    ("field", "status"), [("50m", "4"), ("0n", "4"), ("1 hour", "13"), ("123456789S", "13")]
)
def test_time_of_a_call(field: str, status: str):
    """
    A call ends when the time is over that its client gives it.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            number = client.begin("hang", ("grpc-timeout", field))
            client.flush()
            assert await client.status(number) == status
            if field == "50m":
                await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
            number = client.begin("echo", ("grpc-timeout", "1H"), ends=True)
            client.flush()
            assert await client.status(number) == "0"

    asyncio.run(main())


def test_dead_client_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """
    The calls of a client that gives no sign any more end, and those of one that does go on.
    """
    monkeypatch.setattr(grpc_connections, "_SILENCE", 0.2)

    async def main() -> None:
        async with Listening() as listening, listening.client() as alive:
            keeping = alive.begin("keep")
            alive.send(keeping, 1)
            alive.flush()
            await alive.read_until(ResponseReceived, keeping)
            async with listening.client() as dead:
                number = dead.begin("hang", ends=True)
                dead.flush()
                reading = asyncio.create_task(alive.read_until(StreamEnded, keeping))
                await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
                with contextlib.suppress(ConnectionError):
                    while await dead.reader.read(1 << 16):
                        pass
                assert number == 1
            assert not reading.done()
            listening.answers.released.set()
            await reading
            assert await alive.status(keeping) == "0"

    asyncio.run(main())


@pytest.mark.parametrize(("why", "status"), [("revoked", "16"), ("other", "1")])
def test_task_that_is_cancelled_tells_its_client(why: str, status: str):
    """
    A call that is ended from outside while its client does not read ends for the client, with
    the reason where what answers it knows one.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            listening.server.answer = listening.answers.revoked
            number = client.begin("revoked", ("x-why", why))
            client.flush()
            await asyncio.wait_for(listening.answers.begun.wait(), PATIENCE)
            # It waits for room until now.
            while client.http2.inbound_flow_control_window:
                await client.read()
            listening.answers.tasks[0].cancel()
            await client.read_until(TrailersReceived, number)
            assert await client.status(number) == status
            reset = await client.read_until(StreamReset, number)
            assert reset.error_code == ErrorCodes.NO_ERROR

    asyncio.run(main())


def test_one_stream_too_many_is_refused():
    """
    A stream beyond those that a client may have is refused, and the others go on.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            numbers = [client.begin("stranger") for _ in range(101)]
            client.flush()
            reset = await client.read_until(StreamReset)
            assert (reset.stream_id, reset.error_code) == (
                numbers[-1],
                ErrorCodes.REFUSED_STREAM,
            )
            client.http2.reset_stream(numbers[0])
            number = client.begin("echo", ends=True)
            client.flush()
            assert await client.status(number) == "0"

    asyncio.run(main())


def test_client_that_leaves_gets_the_answers_of_its_calls():
    """
    The calls of a client that has said that it begins no more go on, and then its connection
    ends.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            number = client.begin("keep")
            client.send(number, 10, ends=False)
            client.flush()
            await client.read_until(ResponseReceived, number)
            for byte in GoAwayFrame(0, additional_data=b"bye").serialize():
                client.writer.write(bytes([byte]))
                await client.writer.drain()
            client.send(number, 5)
            client.http2.ping(b"12345678")
            client.flush()
            await client.read_until(PingAckReceived)
            assert len(listening.server.tasks) == 1
            listening.answers.released.set()
            assert await client.status(number) == "0"
            while not client.has_ended:
                await client.read()

    asyncio.run(main())


def test_calls_end_when_the_server_ends():
    """
    When the server ends, calls that run are answered, no more begin, and idle connections end.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            async with listening.client() as idle:
                number = client.begin("keep")
                client.send(number, 10)
                client.flush()
                idle.flush()
                await idle.read_until(RemoteSettingsChanged)
                await client.read_until(ResponseReceived, number)
                closing = asyncio.create_task(listening.server.close(PATIENCE))
                reader = asyncio.create_task(idle.reader.read())
                head = await asyncio.wait_for(reader, PATIENCE)
                assert isinstance([*floods.read_frames(head)][-1], GoAwayFrame)
            assert not closing.done()
            late = client.begin("echo", ends=True)
            client.flush()
            # h2 would take nothing more after the frame by which the server leaves.
            data = b""
            while not any(
                isinstance(frame, RstStreamFrame) for frame in floods.read_frames(data)
            ):
                data += await asyncio.wait_for(client.reader.read(1 << 16), PATIENCE)
            frames = [*floods.read_frames(data)]
            (refused,) = [frame for frame in frames if isinstance(frame, RstStreamFrame)]
            assert (refused.stream_id, refused.error_code) == (
                late,
                ErrorCodes.REFUSED_STREAM,
            )
            (left,) = [frame for frame in frames if isinstance(frame, GoAwayFrame)]
            assert left.last_stream_id == number
            listening.answers.released.set()
            data = await asyncio.wait_for(client.reader.read(), PATIENCE)
            last = [*floods.read_frames(data)][-1]
            assert isinstance(last, HeadersFrame)
            assert "END_STREAM" in last.flags
            await closing

    asyncio.run(main())


def test_calls_of_a_library_go_on_when_the_server_ends():
    """
    A client of gRPC gets its answer, and makes no more calls.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            call = channel.stream_stream("/test/keep")(iter([b"x"]))
            assert await call.read() == b"x"
            listening.listener.close()
            closing = asyncio.create_task(listening.server.close(PATIENCE))
            while channel.get_state() is grpc.ChannelConnectivity.READY:
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
            listening.answers.released.set()
            assert await call.code() is grpc.StatusCode.OK
            await closing

    asyncio.run(main())


def test_connection_is_ended_before_it_has_begun():
    """
    A connection that was ended before it had its transport has none.
    """

    class Ended(GrpcServer):
        def connect(self, visit: OpenConnection) -> Any:
            made = super().connect(visit)
            made.abort()
            return made

    async def main() -> None:
        async with Listening() as listening:
            listening.server = Ended(listening.answers.answer, Limits())
            async with listening.client() as client:
                with contextlib.suppress(ConnectionError):
                    assert not await asyncio.wait_for(client.reader.read(), PATIENCE)

    asyncio.run(main())


def test_calls_beyond_the_limit():
    """
    While as many calls run as may, others are refused.
    """

    async def main() -> None:
        async with Listening(most_calls=2) as listening, listening.channel() as channel:
            held = [channel.unary_stream("/test/hang")(b"") for _ in range(2)]
            for each in held:
                assert await each.read() == b"begun"
            async with listening.channel() as other:
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await other.unary_unary("/test/echo")(b"")
                assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
                held[0].cancel()
                await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
                await asyncio.sleep(0)
                assert await other.unary_unary("/test/echo")(b"x") == b"x"

    asyncio.run(main())


def test_calls_of_strangers_take_no_room():
    """
    Calls whose keys are not checked yet keep none with a key out; too many of them end the
    oldest.
    """

    async def main() -> None:
        async with Listening(most_calls=2) as listening, listening.client() as client:
            numbers = [client.begin("stranger", ends=True) for _ in range(2)]
            client.flush()
            await asyncio.wait_for(listening.answers.begun.wait(), PATIENCE)
            async with listening.channel() as channel:
                method = channel.unary_unary("/test/echo")
                assert await method(b"x") == b"x"
                assert await client.status(numbers[0]) == "8"
                held = [channel.unary_stream("/test/hang")(b"") for _ in range(2)]
                for each in held:
                    assert await each.read() == b"begun"
                async with listening.channel() as other:
                    with pytest.raises(grpc.aio.AioRpcError) as caught:
                        await other.unary_unary("/test/echo")(b"x")
                    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

    asyncio.run(main())


def test_messages_that_are_not_read_hold_nothing_up():
    """
    A call that ends without its message having been read leaves room for others.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            for _ in range(20):
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await channel.unary_unary("/test/fail")(
                        bytes(60_000), metadata=[("x-a", "b")]
                    )
                assert caught.value.code() is grpc.StatusCode.NOT_FOUND
            assert await channel.unary_unary("/test/echo")(bytes(60_000)) == bytes(60_000)

    asyncio.run(main())


def test_each_call_is_told_apart_by_its_host():
    """
    A call knows the name by which its client reaches the server, over any connection and in
    spite of other metadata; only what can be a host counts, and not what leads one client here.
    """

    async def main() -> None:
        async with Listening() as listening:
            listening.connections.relay_secret = "shared"

            async def ask(*metadata: tuple[str, str], host: str = "", target: str = "") -> str:
                options = {"default_authority": host} if host else {}
                async with listening.channel(target or "127.0.0.1", **options) as channel:
                    method = channel.unary_unary("/test/host")
                    found = {await method(b"x" * 100_000, metadata=metadata) for _ in range(3)}
                (only,) = found
                return bytes(only).decode()

            port = listening.port
            # Fields as large as they are in gRPC by default.
            large = ("x-large", "y" * 7000)
            for host in ("fal.example.com:8443", "10.0.0.5:8000", "[::1]:1"):
                assert await ask(large, host=host) == host
            assert await ask() == f"127.0.0.1:{port}"
            assert await ask(large, target="localhost") == f"localhost:{port}"
            assert await ask(host="rest.fal.ai") == ""
            assert await ask(host="a.example:99999") == ""
            claim = (SERVER_HOST, "evil.example")
            for shown in ("", "a guess"):
                told = await ask(claim, (RELAY.lower(), shown))
                assert told == f"127.0.0.1:{port}"
            relay = (RELAY.lower(), "shared")
            assert await ask(relay, (SERVER_HOST, "a.example:1")) == "a.example:1"
            assert await ask(relay, (SERVER_HOST, "no host")) == ""
            assert await ask(relay) == ""
            # A server without others shares nothing.
            listening.connections.relay_secret = ""
            assert await ask((RELAY.lower(), ""), claim) == f"127.0.0.1:{port}"

    asyncio.run(main())


def test_stranger_that_does_nothing_is_closed():
    """
    A client that shows no key in time is closed; one that has shown it before stays.
    """

    async def main() -> None:
        async with Listening(longest_idle=0.3) as listening, listening.client() as known:
            # Known from the first moment on, however long its first call would take.
            (await listening.accepted.get()).recognise()
            reader, writer = await listening.raw()
            await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            number = known.begin("echo", ends=True)
            known.flush()
            assert await known.status(number) == "0"
            assert len(listening.connections) == 1

    asyncio.run(main())


def test_request_that_is_no_call():
    """
    HTTP/2 without gRPC is answered with a status that says so.
    """

    async def main() -> None:
        client = H2Connection(H2Configuration(client_side=True))
        client.initiate_connection()
        named = [(":method", "GET"), (":path", "/"), (":scheme", "http"), (":authority", "x")]
        client.send_headers(1, named, end_stream=True)
        async with Listening() as listening:
            reader, writer = await listening.raw()
            writer.write(client.data_to_send())
            events: list[Any] = []
            while not any(isinstance(event, StreamEnded) for event in events):
                events += client.receive_data(await reader.read(1 << 16))
            writer.close()
        (response,) = [event for event in events if isinstance(event, ResponseReceived)]
        assert (b":status", b"415") in [tuple(map(_bytes, each)) for each in response.headers]

    asyncio.run(main())


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def test_changed_bytes_are_no_trouble(caplog: pytest.LogCaptureFixture):
    """
    A connection whose bytes were changed is answered or ended, and no more.
    """
    chance = random.Random(7)
    clean = b"".join(
        part
        for flood in (floods.closed_windows, floods.bombs, floods.resets, floods.settings)
        for part in [next(flood()), next(iter(_second(flood())))[:4000]]
    )

    async def main() -> None:
        loop = asyncio.get_running_loop()
        unhandled: list[Any] = []
        loop.set_exception_handler(lambda _, context: unhandled.append(context))

        async def send(data: bytes) -> None:
            reader, writer = await listening.raw()
            writer.write(data)
            writer.write_eof()
            with contextlib.suppress(ConnectionError):
                await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()

        def change() -> bytes:
            start = chance.randrange(0, len(clean) - 4000)
            data = bytearray(floods.begin() + clean[start : start + 4000])
            for _ in range(chance.randrange(20)):
                data[chance.randrange(len(data))] = chance.randrange(256)
            return bytes(data)

        async with Listening() as listening:
            for _ in range(4):
                await asyncio.gather(*(send(change()) for _ in range(50)))
            async with listening.channel() as channel:
                assert await channel.unary_unary("/test/echo")(b"x") == b"x"
        assert not unhandled

    asyncio.run(main())
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def _second(parts: Iterator[bytes]) -> Iterator[bytes]:
    next(parts)
    return parts


@pytest.mark.parametrize("is_secret", [False, True], ids=["plain", "tls"])
@pytest.mark.parametrize("name", sorted(floods.FLOODS.keys() - {"slow_calls"}))
def test_flood_of_a_stranger_ends(plane: Any, name: str, is_secret: bool):
    """
    The connection of a stranger that floods the server is closed, and a client with a key is
    served meanwhile and afterwards.
    """
    plain = connect(plane)
    made: socket.socket = plain
    if is_secret:
        context = trusting(plane)
        context.set_alpn_protocols(["h2"])
        made = context.wrap_socket(plain, server_hostname="localhost")
    until = time.monotonic() + PATIENCE
    sent: list[int] = []
    closed: list[bool] = []

    def send() -> None:
        sent.append(floods.send(made, floods.FLOODS[name](), until, reads=False))
        closed.append(is_closed(made))

    sending = threading.Thread(target=send)
    with made:
        sending.start()
        for _ in range(3):
            plane.call("ListSecrets", ListSecretsRequest())
        sending.join(PATIENCE)
        assert not sending.is_alive()
    assert sent[0] < 64 << 20
    assert closed == [True]


def is_closed(connection: socket.socket) -> bool:
    """
    Return whether a connection has been closed by the other side.
    """
    connection.settimeout(PATIENCE)
    try:
        while connection.recv(1 << 18):
            pass
    except TimeoutError:
        return False
    except OSError:
        return True
    return True


def test_keys_are_not_logged(plane: Any, caplog: pytest.LogCaptureFixture):
    """
    What is read of a request is not in the log, at any level: it has the client's key.
    """
    caplog.set_level("DEBUG")
    plane.call("ListSecrets", ListSecretsRequest())
    assert plane.key.partition(":")[2] not in caplog.text
