"""Upstreams: how responses are read, and when their connections take another request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from raw_agents import OK, Agent, answer_of, answering, ask, holding, listening, run

from fal_server.fleet.http_upstreams import LONGEST_HEAD, BrokenUpstream


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nContent-Length: 4\r\n\r\nfine",
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"2\r\nfi\r\n2;x=y\r\nne\r\n0\r\nX-Mine: trailer\r\n\r\n",
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\n\r\nfine",
        b"HTTP/1.0 201 Made\r\nX-Mine: a\r\n\r\nfine",
        b"HTTP/1.1 103 Early Hints\r\nX-Mine: early\r\n\r\n"
        b"HTTP/1.1 201 Made\r\nX-Mine: a\r\nContent-Length: 4\r\n\r\nfine",
    ],
    ids=["length", "chunks", "closed", "old", "hints"],
)
@given(data=st.data())
def test_response_in_any_pieces(answer: bytes, data: st.DataObject):
    """An answer is read whole, in whatever pieces it arrives."""
    places = sorted(data.draw(st.sets(st.integers(1, len(answer) - 1), max_size=5)))
    pieces = [
        answer[start:end]
        for start, end in zip([0, *places], [*places, len(answer)], strict=True)
    ]

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in pieces:
            writer.write(piece)
            # Let the client read each piece by itself.
            await asyncio.sleep(0)

    assert answer_of(serve) == (201, "a", b"fine")


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\n"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"),
    ],
)
def test_response_without_a_body_ends_with_its_headers(method: str, answer: bytes):
    """
    A response without a body ends after its headers, whatever these say, and its connection
    takes the next request.
    """

    async def main() -> None:
        agent = Agent(answering(answer, OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url, method) == b""
            assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 1

    run(main())


def test_a_header_in_another_encoding_can_be_read():
    """A header that is not UTF-8 is decoded as Latin-1."""
    answer = b"HTTP/1.1 200 OK\r\nX-Mine: caf\xe9\r\nContent-Length: 0\r\n\r\n"
    assert answer_of(answering(answer)) == (200, "café", b"")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nfi\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nfi\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\nfine!",
        b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\nfine",
        b"HTTP/1.1 200 OK\r\nContent-Length: -4\r\n\r\nfine",
        b"HTTP/1.1 101 Switching\r\nUpgrade: mine\r\nConnection: upgrade\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Mine: " + 2 * LONGEST_HEAD * b"a" + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + LONGEST_HEAD * b"a: b\r\n",
    ],
    ids=[
        "nothing",
        "words",
        "half",
        "chunk",
        "size",
        "lengths",
        "smuggled",
        "negative",
        "upgrade",
        "long",
        "many",
    ],
)
def test_an_answer_that_is_none_is_an_error(answer: bytes):
    """Malformed and truncated responses are errors."""
    with pytest.raises(BrokenUpstream, match=r"\.$"):
        answer_of(answering(answer))


@pytest.mark.parametrize("begun", [b"0\r\nX-Mine: ", b"2;x="])
def test_trailers_and_chunk_extensions_are_limited(begun: bytes):
    """Trailers and chunk extensions may be as large as the headers at most."""
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + begun)
        while written < 1024 * LONGEST_HEAD:
            writer.write(LONGEST_HEAD * b"a")
            await writer.drain()
            written += LONGEST_HEAD

    with pytest.raises(BrokenUpstream, match="too long"):
        answer_of(serve)
    assert written < 1024 * LONGEST_HEAD


def test_a_connection_that_says_it_ends_is_not_used_again():
    """An answer may say that its connection takes nothing more."""

    async def main() -> None:
        last = OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        agent = Agent(holding(last))
        async with listening(agent) as (exchanges, url):
            await ask(exchanges, url)
            await ask(exchanges, url)
            assert agent.connections == 2

    run(main())


@pytest.mark.parametrize("waits", [False, True])
def test_an_answer_nobody_asked_for_is_given_to_nobody(waits: bool):
    """
    A runner that answers twice loses its connection: the second answer would be taken for
    that of the next request.
    """

    async def main() -> None:
        agent = Agent(holding(OK + OK.replace(b"fine", b"evil")), holding(OK))
        if waits:
            agent = Agent(late, holding(OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url) == b"fine"
            if waits:
                await agent.gone.wait()
            assert await ask(exchanges, url) == b"fine"
            assert agent.connections == 2

    async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        # The second response arrives after the first was taken.
        await asyncio.sleep(0.05)
        writer.write(OK.replace(b"fine", b"evil"))
        await reader.readexactly(1)

    run(main())


def test_response_before_the_request_body_is_sent():
    """
    A connection with an unfinished request body takes no other request: a runner that does
    not read the body would not read the next request either.
    """

    async def main() -> None:
        agent = Agent(refusing, holding(OK))
        async with listening(agent) as (exchanges, url):
            assert await ask(exchanges, url, "POST", body=b"a" * (32 << 20)) == b"fine"
            assert await ask(exchanges, url, "POST", body=b"a") == b"fine"
            assert agent.connections == 2
            over.set()

    async def refusing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)
        await over.wait()

    over = asyncio.Event()
    run(main())


def test_slow_runner_holds_back_the_sender():
    """
    No more of a request body is taken than the runner reads, beside what the sockets
    buffer.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await over.wait()

    async def body() -> AsyncIterator[bytes]:
        nonlocal taken
        for _ in range(64):
            taken += 1
            begun.set()
            yield b"a" * (1 << 20)

    async def main() -> None:
        async with listening(Agent(serve)) as (exchanges, url):
            asking = asyncio.ensure_future(ask(exchanges, url, "POST", body=body()))
            await begun.wait()
            # Nothing must come meanwhile.
            await asyncio.sleep(1.0)
            assert not asking.done()
            asking.cancel()
            await asyncio.wait({asking})
            over.set()
        assert 0 < taken < 32

    taken = 0
    begun, over = asyncio.Event(), asyncio.Event()
    run(main())


def test_slow_reader_holds_back_the_runner():
    """No more of a response is kept than its reader takes, beside what the sockets buffer."""
    part, count = b"a" * (1 << 20), 64
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (count * len(part))
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        for _ in range(count):
            writer.write(part)
            await writer.drain()
            written += 1

    async def main() -> None:
        async with (
            listening(Agent(serve)) as (exchanges, url),
            exchanges.ask("GET", url, "/", headers={}) as upstream,
        ):
            # A client that does not stop reading would take everything meanwhile.
            await asyncio.sleep(0.5)
            assert written < count // 2
            size = 0
            while got := await upstream.read_part():
                size += len(got)
            assert size == count * len(part)

    run(main())
