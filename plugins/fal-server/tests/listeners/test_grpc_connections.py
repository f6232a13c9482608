"""
gRPC connections: what clients send and get, and what strangers may.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import floods
import grpc
import grpc.aio
import pytest
from api_connections import connect, trusting
from h2.config import H2Configuration
from h2.connection import H2Connection
from h2.events import ResponseReceived, StreamEnded
from isolate_proto import ListSecretsRequest
from polling import PATIENCE

from fal_server.limits import Limits
from fal_server.listeners.grpc_calls import SERVER_HOST, CallFailed, GrpcCall
from fal_server.listeners.grpc_connections import GrpcServer
from fal_server.listeners.http_connections import RELAY
from fal_server.listeners.open_connections import OpenConnections

#: The largest message of the server of the tests.
LARGEST = 8 << 20


class Answers:
    """
    What the server of the tests answers, by the names of its methods.
    """

    def __init__(self) -> None:
        self.begun, self.ended = asyncio.Event(), asyncio.Event()

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
        self.begun.set()
        yield b"begun"
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.set()

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
        limits = {"largest_message": LARGEST, **limits}
        self.server = GrpcServer(self.answers.answer, Limits(**limits))

    def accept(self) -> asyncio.Protocol:
        visit = self.connections.add("127.0.0.1")
        assert visit is not None
        return self.server.connect(visit)

    async def __aenter__(self) -> Listening:
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.accept, "127.0.0.1", 0)
        self.port: int = self.listener.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.listener.close()
        await self.server.close(PATIENCE)
        await asyncio.sleep(0)
        assert not self.server.tasks

    def channel(self, target: str = "127.0.0.1", **options: Any) -> grpc.aio.Channel:
        # Else a call may go on over the connection of an earlier one.
        named = {"grpc.use_local_subchannel_pool": 1, "grpc.max_receive_message_length": -1}
        named |= {f"grpc.{name}": value for name, value in options.items()}
        return grpc.aio.insecure_channel(f"{target}:{self.port}", options=[*named.items()])

    async def raw(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.port)


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
            await listening.server.close(PATIENCE)
            assert listening.answers.ended.is_set()
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await call.read()
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
            await channel.close()

    asyncio.run(main())


def test_large_answer_waits_for_its_client():
    """
    Of what a client does not take, little is kept in the connection; it gets all of it when
    it reads on.
    """

    async def main() -> None:
        async with Listening() as listening, listening.channel() as channel:
            call = channel.stream_stream("/test/echo")(iter([bytes(LARGEST)] * 3))
            await call.initial_metadata()
            other = channel.unary_unary("/test/host")
            assert await other(b"") == f"127.0.0.1:{listening.port}".encode()
            assert [len(message) async for message in call] == [LARGEST] * 3

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
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await channel.unary_unary("/test/echo")(b"")
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            held[0].cancel()
            await asyncio.wait_for(listening.answers.ended.wait(), PATIENCE)
            await asyncio.sleep(0)
            assert await channel.unary_unary("/test/echo")(b"x") == b"x"

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
    A call knows what it names the server, over whichever connection it has come, whatever its
    client claims besides; only what can be a host counts, and not what leads one client here.
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
    A client that shows no key in time is closed; one that has shown it stays.
    """

    async def main() -> None:
        async with Listening(longest_idle=0.3) as listening, listening.channel() as channel:
            assert await channel.unary_unary("/test/echo")(b"x") == b"x"
            known = channel.get_state()
            reader, writer = await listening.raw()
            await asyncio.wait_for(reader.read(), PATIENCE)
            writer.close()
            assert channel.get_state() == known == grpc.ChannelConnectivity.READY
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
    Whatever becomes of the bytes of a connection, it is answered or ended, and no more.
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

    def send() -> None:
        sent.append(floods.send(made, floods.FLOODS[name](), until, reads=False))

    sending = threading.Thread(target=send)
    with made:
        sending.start()
        for _ in range(3):
            plane.call("ListSecrets", ListSecretsRequest())
        sending.join(PATIENCE)
        assert not sending.is_alive()
    assert sent[0] < 64 << 20


def test_keys_are_not_logged(plane: Any, caplog: pytest.LogCaptureFixture):
    """
    What is read of a request is not in the log, at whatever level: it has the client's key.
    """
    caplog.set_level("DEBUG")
    plane.call("ListSecrets", ListSecretsRequest())
    assert plane.key.partition(":")[2] not in caplog.text
