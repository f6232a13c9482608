"""gRPC connections: what clients send and get, and what strangers may."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import floods
import grpc
import grpc.aio
import pytest
from api_connections import connect, trusting
from grpc_listening import Listening
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.errors import ErrorCodes
from h2.events import (
    PingAckReceived,
    RemoteSettingsChanged,
    ResponseReceived,
    StreamEnded,
    StreamReset,
)
from hyperframe.frame import GoAwayFrame, HeadersFrame, RstStreamFrame
from isolate_proto import ListSecretsRequest
from polling import PATIENCE

from fal_server.limits import Limits
from fal_server.listeners import grpc_connections
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.open_connections import OpenConnection


def test_call_ends_with_its_client():
    """A call is cancelled when its client cancels it, goes, or when the server ends."""

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


def test_dead_client_is_noticed(monkeypatch: pytest.MonkeyPatch):
    """The calls of a client that gives no sign any more end, and those of one that does go on."""
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


def test_one_stream_too_many_is_refused():
    """A stream beyond those that a client may have is refused, and the others go on."""

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            numbers = [client.begin("stranger") for _ in range(51)]
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
            assert len(listening.server.running.tasks) == 1
            listening.answers.released.set()
            assert await client.status(number) == "0"
            while not client.has_ended:
                await client.read()

    asyncio.run(main())


def test_calls_end_when_the_server_ends():
    """When the server ends, calls that run are answered, no more begin, and idle connections end."""

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
    """A client of gRPC gets its answer, and makes no more calls."""

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
    """A connection that was ended before it had its transport has none."""

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
    """While as many calls run as may, others are refused."""

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
    Calls whose keys are not checked yet keep none out of a client that has shown its key. Other
    strangers wait for them.
    """

    async def main() -> None:
        async with (
            Listening(most_calls=2) as listening,
            listening.client() as client,
            listening.channel() as channel,
            listening.client() as other,
        ):
            method = channel.unary_unary("/test/echo")
            assert await method(b"x") == b"x"
            first = [client.begin("stranger", ends=True) for _ in range(2)]
            client.flush()
            await asyncio.wait_for(listening.answers.begun.wait(), PATIENCE)
            later = other.begin("echo", ends=True)
            other.flush()
            held = [channel.unary_stream("/test/hang")(b"") for _ in range(2)]
            for each in held:
                assert await each.read() == b"begun"
                each.cancel()
            listening.answers.released.set()
            for number in first:
                assert await client.status(number) == "0"
            assert await other.status(later) == "0"

    asyncio.run(main())


def test_stranger_that_does_nothing_is_closed():
    """A client that shows no key in time is closed; one that has shown it before stays."""

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
    """HTTP/2 without gRPC is answered with a status that says so."""

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
    """A connection whose bytes were changed is answered or ended, and no more."""
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
@pytest.mark.parametrize("name", sorted(floods.FLOODS.keys() - floods.SLOW))
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
    """Return whether a connection has been closed by the other side."""
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
    """What is read of a request is not in the log, at any level: it has the client's key."""
    caplog.set_level("DEBUG")
    plane.call("ListSecrets", ListSecretsRequest())
    assert plane.key.partition(":")[2] not in caplog.text
