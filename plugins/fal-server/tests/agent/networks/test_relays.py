"""Relays: what goes in at a Unix socket comes out at a port, and the other way round."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path

from fal_core_worker.serving.ports import free_port
from fal_server_agent.networks.relays import Front, relaying

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

PATIENCE = 60

LARGE = bytes(range(256)) * (1 << 14)


def run(
    path: Path,
    serve: Serve,
    use: Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable],
) -> None:
    """Relay the connection of *use* to that of *serve*."""

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            async with relaying(str(path), port):
                reader, writer = await asyncio.open_unix_connection(str(path))
                await use(reader, writer)
                writer.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_large_bodies_pass_in_both_directions(tmp_path: Path):
    """Bytes arrive complete and in order, also where both sides send more than fits a buffer."""
    got: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(LARGE)
        got.append(await reader.read())
        writer.close()

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reading = asyncio.ensure_future(reader.read())
        writer.write(LARGE)
        await writer.drain()
        writer.write_eof()
        got.append(await reading)

    run(tmp_path / "run", serve, use)
    assert got == [LARGE, LARGE]


def test_end_of_a_sender_is_passed_on(tmp_path: Path):
    """A side that has sent everything still gets what the other sends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        told = await reader.read()
        writer.write(b"got " + told)
        writer.close()

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"all")
        writer.write_eof()
        assert await reader.read() == b"got all"

    run(tmp_path / "run", serve, use)


def test_application_that_closes(tmp_path: Path):
    """A connection that the application closes ends."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.read() == b""

    run(tmp_path / "run", serve, use)


def test_client_that_leaves(tmp_path: Path):
    """The application sees that a client has left, whatever it is sending at that moment."""
    left = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                writer.write(LARGE)
                await writer.drain()
        except ConnectionError:
            left.set()
        finally:
            writer.close()

    async def use(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(10)
        writer.transport.abort()
        await left.wait()

    run(tmp_path / "run", serve, use)


def test_port_where_nobody_listens(tmp_path: Path):
    """Where the application does not listen any more, a connection ends without an answer."""

    async def main() -> None:
        async with relaying(str(tmp_path / "run"), free_port()):
            reader, writer = await asyncio.open_unix_connection(str(tmp_path / "run"))
            try:
                assert await reader.read() == b""
            except ConnectionResetError:
                pass
            writer.close()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))


def test_bytes_that_come_before_the_application_is_connected():
    """
    What arrives early, as some Pythons read although they were told to pause, is passed on
    in order, with the end of its sender.
    """

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"got " + await reader.read())
        writer.close()

    async def main() -> None:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            front = Front(server.sockets[0].getsockname()[1], tasks := set())
            ours, theirs = socket.socketpair()
            loop = asyncio.get_running_loop()
            await loop.create_connection(lambda: front, sock=theirs)
            for each in (b"one ", b"two"):
                front.data_received(each)
            assert front.eof_received()
            reader, writer = await asyncio.open_connection(sock=ours)
            assert await reader.read() == b"got one two"
            writer.close()
            assert tasks == set()

    asyncio.run(asyncio.wait_for(main(), PATIENCE))
