"""gRPC calls: their messages, what they take of their connection, and how they end."""

from __future__ import annotations

import asyncio
import gzip
import random
import threading
import zlib
from typing import Any

import grpc
import grpc.aio
import pytest
from grpc_listening import LARGEST, Listening
from h2.errors import ErrorCodes
from h2.events import (
    ResponseReceived,
    StreamReset,
    TrailersReceived,
)
from polling import PATIENCE

from fal_server.listeners.grpc_calls import SERVER_HOST
from fal_server.listeners.http_connections import RELAY


def test_messages_pass_both_ways():
    """Messages of any size pass whole, with what comes before and after them, compressed or not."""

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
    """A message beyond the limit ends its call, and no other one."""

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


def test_large_answer_waits_for_its_client():
    """Of what a client does not take, little is made and kept; it gets all of it when it reads on."""

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
    """A call that goes on after its message was read leaves others the window of its connection."""

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
    """What a call took of the window of its connection is there again once it was reset."""

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
    """A compressed message without its end is refused."""

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
    """A call ends when the time is over that its client gives it."""

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


@pytest.mark.parametrize(("why", "status"), [("revoked", "16"), ("other", "1")])
def test_task_that_is_cancelled_tells_its_client(why: str, status: str):
    """
    A call that is ended from outside while its client does not read ends for the client, with
    the reason where what answers it knows one.
    """

    async def main() -> None:
        async with Listening() as listening, listening.client() as client:
            listening.server.running.answer = listening.answers.revoked
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


def test_messages_that_are_not_read_hold_nothing_up():
    """A call that ends without its message having been read leaves room for others."""

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
