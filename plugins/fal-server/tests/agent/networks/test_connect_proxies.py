"""A proxy that leads some hosts to a server, and all others where they are."""

from __future__ import annotations

import asyncio
import base64
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

from fal_server_agent.networks import connect_proxies
from fal_server_agent.networks.connect_proxies import ConnectProxy, NextProxy


@asynccontextmanager
async def echo(name: bytes) -> AsyncIterator[int]:
    """Serve what answers each line with its name, and return the port."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(name + b" " + line)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()


async def ask(port: int, head: bytes, line: bytes = b"hello\n") -> tuple[bytes, bytes]:
    """Return the status line, and what answers a line behind the proxy."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(head)
    status = await reader.readline()
    if b"200" in status:
        await reader.readline()
        writer.write(line)
        writer.write_eof()
    rest = await reader.read()
    writer.close()
    return status, rest


def run(work: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(work(), 60))  # type: ignore[arg-type]  # a coroutine


def test_hosts_lead_where_they_should():
    """
    The named hosts lead to the server, by their port for encrypted connections alone, and
    others where they are; the end of what is sent is passed on.
    """

    async def use() -> None:
        async with echo(b"server") as server, echo(b"other") as other:
            proxy = ConnectProxy({"rest.example": ("127.0.0.1", server)})
            port = await proxy.start(0)
            for host, answer in (
                ("rest.example:443", b"server hello\n"),
                ("REST.example.:443", b"server hello\n"),
                (f"127.0.0.1:{other}", b"other hello\n"),
            ):
                told = await ask(port, f"CONNECT {host} HTTP/1.1\r\n\r\n".encode())
                assert told == (b"HTTP/1.1 200 Connected\r\n", answer)
            await proxy.close()

    run(use)


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET http://rest.example/ HTTP/1.1\r\n\r\n", b"405"),
        (b"CONNECT rest.example HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT :443 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT a:99999 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT a:443 HTTP/1.1\r\n" + b"x" * 20_000 + b"\r\n\r\n", b"400"),
        (b"CONNECT " + b"a" * 64 + b".example:443 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT a..example:443 HTTP/1.1\r\n\r\n", b"400"),
        (b"CONNECT 127.0.0.1:1 HTTP/1.1\r\n\r\n", b"502"),
    ],
)
def test_requests_that_are_refused(head: bytes, status: bytes):
    """What is no request for a connection is refused, and so is one that leads nowhere."""

    async def use() -> None:
        proxy = ConnectProxy({"rest.example": ("127.0.0.1", 1)})
        port = await proxy.start(0)
        assert (await ask(port, head))[0].split()[1] == status
        await proxy.close()

    run(use)


def test_another_proxy_is_used(monkeypatch: pytest.MonkeyPatch):
    """
    Other hosts are reached through the proxy that was used before, with its credentials,
    unless they are to be reached without one.
    """
    monkeypatch.setenv("no_proxy", "direct.example")
    asked: list[bytes] = []

    async def use() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            asked.append(await reader.readuntil(b"\r\n\r\n"))
            is_known = b"other.example" in asked[-1]
            writer.write(
                b"HTTP/1.1 200 OK\r\n\r\nbeyond" if is_known else b"HTTP/1.1 403 No\r\n\r\n"
            )
            await writer.drain()
            writer.close()

        beyond = await asyncio.start_server(take, "127.0.0.1", 0)
        url = f"http://ann:s%40me@127.0.0.1:{beyond.sockets[0].getsockname()[1]}"
        proxy = ConnectProxy({}, NextProxy.read(url))
        port = await proxy.start(0)
        status, rest = await ask(port, b"CONNECT other.example:443 HTTP/1.1\r\n\r\n")
        assert (status, rest) == (b"HTTP/1.1 200 Connected\r\n", b"beyond")
        assert b"\r\nProxy-Authorization: Basic YW5uOnNAbWU=\r\n" in asked[0]
        status, rest = await ask(port, b"CONNECT unknown.example:443 HTTP/1.1\r\n\r\n")
        assert b"502" in status
        assert b"The next proxy refuses unknown.example" in rest
        await ask(port, b"CONNECT direct.example:1 HTTP/1.1\r\n\r\n")
        assert len(asked) == 2
        await proxy.close()
        beyond.close()

    run(use)


def test_large_heads_of_the_next_proxy_are_refused():
    """A next proxy that answers with a large head is one that cannot be used."""

    async def use() -> None:
        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nX: " + b"x" * 200_000 + b"\r\n\r\n")
            await asyncio.gather(writer.drain(), return_exceptions=True)
            writer.close()

        beyond = await asyncio.start_server(take, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{beyond.sockets[0].getsockname()[1]}"
        proxy = ConnectProxy({}, NextProxy.read(url))
        port = await proxy.start(0)
        status, rest = await ask(port, b"CONNECT other.example:443 HTTP/1.1\r\n\r\n")
        assert b"502" in status
        assert b"too large" in rest
        await proxy.close()
        beyond.close()

    run(use)


def test_connections_end_with_their_clients():
    """
    A connection whose client has gone is closed, although the other end stays open and says
    nothing.
    """

    async def use() -> None:
        ended = asyncio.Event()

        async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()
            writer.write(b"x")
            await ended.wait()
            writer.close()

        server = await asyncio.start_server(take, "127.0.0.1", 0)
        proxy = ConnectProxy(
            {"a": ("127.0.0.1", server.sockets[0].getsockname()[1])}, longest_end=0.1
        )
        port = await proxy.start(0)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"CONNECT a:443 HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"\r\n\r\n")
        writer.write_eof()
        assert await reader.read() == b"x"
        writer.close()
        ended.set()
        await proxy.close()
        server.close()

    run(use)


@pytest.mark.parametrize("url", ["socks5://127.0.0.1:1080", "https://proxy.example", "http://"])
def test_proxies_of_other_kinds_are_not_used(url: str):
    """Only proxies of HTTP are used."""
    assert NextProxy.read(url) is None


SHOWN = b"Proxy-Authorization: Basic " + base64.b64encode(b"fal:a token") + b"\r\n"


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b"Proxy-Authorization: Basic " + base64.b64encode(b"fal:another") + b"\r\n",
        b"Proxy-Authorization: Basic " + base64.b64encode(b"fal:") + b"\r\n",
        b"Proxy-Authorization: Bearer " + base64.b64encode(b"fal:a token") + b"\r\n",
        b"Authorization: Basic " + base64.b64encode(b"fal:a token") + b"\r\n",
        b"Proxy-Authorization: Basic \xff\xfe\r\n",
        b"Proxy-Authorization\r\n",
        # The first one counts.
        b"Proxy-Authorization: Basic eA==\r\n" + SHOWN,
    ],
)
def test_strangers_are_refused(shown: bytes):
    """
    Who does not show the token of a proxy that has one is connected to nothing, and learns
    nothing of what it would connect to.
    """

    async def use() -> None:
        async with echo(b"server") as server:
            proxy = ConnectProxy({"a": ("127.0.0.1", server)}, token="a token")
            port = await proxy.start(0)
            assert proxy.url(port) == f"http://fal:a token@127.0.0.1:{port}"
            for request in (b"CONNECT a:443", b"CONNECT nowhere", b"GET http://a/"):
                status, rest = await ask(port, request + b" HTTP/1.1\r\n" + shown + b"\r\n")
                assert status.split()[1] == b"407"
                assert b'Proxy-Authenticate: Basic realm="fal-core"\r\n' in rest
            told = await ask(port, b"CONNECT a:443 HTTP/1.1\r\n" + SHOWN + b"\r\n")
            assert told == (b"HTTP/1.1 200 Connected\r\n", b"server hello\n")
            await proxy.close()

    run(use)


def test_slow_requests_are_refused(monkeypatch: pytest.MonkeyPatch):
    """A request has to come within some seconds."""
    monkeypatch.setattr(connect_proxies, "_LONGEST_BEGINNING", 0.1)

    async def use() -> None:
        proxy = ConnectProxy({"a": ("127.0.0.1", 1)}, token="a token")
        assert b"400" in (await ask(await proxy.start(0), b"CONNECT a:443 HTT"))[0]
        await proxy.close()

    run(use)


@pytest.mark.parametrize(("moment", "most"), [(0.0, 3), (1000.0, 5)])
def test_connections_that_say_nothing_make_room(
    monkeypatch: pytest.MonkeyPatch, moment: float, most: int
):
    """
    Many connections that ask for nothing keep out nobody who asks: the oldest is closed, once
    it has had a while or at a larger number.
    """
    monkeypatch.setattr(connect_proxies, "_MOST_WAITING", 3)
    monkeypatch.setattr(connect_proxies, "_MOST_AT_ONCE", 5)
    monkeypatch.setattr(connect_proxies, "_MOMENT", moment)

    async def use() -> None:
        async with echo(b"server") as server:
            proxy = ConnectProxy({"a": ("127.0.0.1", server)}, token="a token")
            port = await proxy.start(0)
            silent = [await asyncio.open_connection("127.0.0.1", port) for _ in range(12)]
            for reader, _ in silent[:-most]:
                assert await reader.read() == b""
            told = await ask(port, b"CONNECT a:443 HTTP/1.1\r\n" + SHOWN + b"\r\n")
            assert told[1] == b"server hello\n"
            # Only one more was closed, for the one that asked.
            for reader, _ in silent[-most + 1 :]:
                assert not reader.at_eof()
            await proxy.close()
            for _, writer in silent:
                writer.close()

    run(use)


@pytest.mark.parametrize(("files", "most"), [(1 << 20, 2), (16, 1000), (-1, 2)])
def test_connections_are_limited(monkeypatch: pytest.MonkeyPatch, files: int, most: int):
    """
    Beyond a number of connections, another one is refused, until one ends. They are fewer where
    the process may have few files open.
    """
    monkeypatch.setattr(connect_proxies, "_MOST", most)
    monkeypatch.setattr("resource.getrlimit", lambda _: (files, files))

    async def use() -> None:
        async with echo(b"server") as server:
            proxy = ConnectProxy({"a": ("127.0.0.1", server)})
            port = await proxy.start(0)
            head = b"CONNECT a:443 HTTP/1.1\r\n\r\n"
            used = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
            for reader, writer in used:
                writer.write(head)
                await reader.readuntil(b"\r\n\r\n")
            assert b"503" in (await ask(port, head))[0]
            used[0][1].close()
            while b"503" in (told := await ask(port, head))[0]:
                await asyncio.sleep(0)
            assert told[1] == b"server hello\n"
            used[1][1].close()
            await proxy.close()

    run(use)


def test_silent_connections_end():
    """A connection on which nothing comes from either end for long is closed."""

    async def use() -> None:
        async with echo(b"server") as server:
            proxy = ConnectProxy({"a": ("127.0.0.1", server)}, longest_silence=0.1)
            port = await proxy.start(0)
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"CONNECT a:443 HTTP/1.1\r\n\r\n")
            await reader.readuntil(b"\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                assert await reader.read() == b""
            writer.close()
            await proxy.close()

    run(use)


def test_the_server_that_is_gone_is_told(caplog: pytest.LogCaptureFixture):
    """Whoever reads the log is told that the server cannot be reached."""

    async def use() -> None:
        proxy = ConnectProxy({"a": ("127.0.0.1", 1)})
        port = await proxy.start(0)
        assert b"502" in (await ask(port, b"CONNECT a:443 HTTP/1.1\r\n\r\n"))[0]
        await proxy.close()

    run(use)
    assert "a leads to 127.0.0.1:1, which cannot be reached" in caplog.text


def test_the_next_proxy_is_asked_for_no_loopback():
    """A proxy that leads to no loopback does not ask the next one for it either."""

    async def use() -> None:
        next_one = NextProxy("127.0.0.1", 1)
        proxy = ConnectProxy({}, next_one, bypasses=lambda _: False, leads_home=False)
        port = await proxy.start(0)
        for host in ("127.0.0.1:443", "[::1]:443", "localhost:443"):
            assert b"403" in (await ask(port, f"CONNECT {host} HTTP/1.1\r\n\r\n".encode()))[0]
        await proxy.close()

    run(use)
