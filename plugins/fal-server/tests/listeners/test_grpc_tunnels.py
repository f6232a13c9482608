"""
Tunnels: gRPC connections whose clients have shown a key, and those that have not.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

import grpc
import grpc.aio

from fal_server.limits import Limits
from fal_server.listeners.grpc_tunnels import MARK, SERVER_HOST, TunnelMouth
from fal_server.listeners.http_connections import RELAY
from fal_server.listeners.open_connections import OpenConnection, OpenConnections


def test_tunnel_of_a_stranger_ends():
    """
    The server knows each tunnel by its name. One whose client shows no key in time is
    closed; no name is left on disk.
    """

    async def main(folder: str) -> None:
        loop = asyncio.get_running_loop()
        peers: asyncio.Queue[str] = asyncio.Queue()
        path = f"{folder}/grpc"

        async def take(reader: Any, writer: Any) -> None:
            writer.write(b"greeting")
            peers.put_nowait(f"unix:{writer.get_extra_info('peername')}")
            await reader.read()
            writer.close()

        mouth = TunnelMouth(path, Limits(longest_idle=0.2))
        visits: list[OpenConnection] = []

        def connect() -> asyncio.Protocol:
            visits.append(OpenConnection())
            return mouth.make_tunnel(visits[-1])

        server = await asyncio.start_unix_server(take, path)
        listener = await loop.create_server(connect, "127.0.0.1", 0)
        port = listener.sockets[0].getsockname()[1]
        known, known_writer = await asyncio.open_connection("127.0.0.1", port)
        mouth.recognise(await peers.get())
        stranger, stranger_writer = await asyncio.open_connection("127.0.0.1", port)
        assert await known.readexactly(8) == await stranger.readexactly(8) == b"greeting"
        assert [visit.is_known for visit in visits] == [True, False]
        assert await asyncio.wait_for(stranger.read(), 60) == b""
        assert not known.at_eof()
        assert [each.name for each in Path(folder).iterdir()] == ["grpc"]
        mouth.close()
        assert await asyncio.wait_for(known.read(), 60) == b""
        for each in (known_writer, stranger_writer, listener, server):
            each.close()

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))


def test_each_call_is_told_apart_by_its_host():
    """
    The gRPC server finds what a call names the server, whatever the client claims, over
    whichever connection it has come; a client that sends the key of a mark by chance does not
    replace it.
    """

    async def main(folder: str) -> None:
        loop = asyncio.get_running_loop()
        path = f"{folder}/grpc"
        mouth = TunnelMouth(path, Limits())
        connections = OpenConnections(Limits())
        connections.relay_secret = "shared"

        async def tell(_: bytes, context: Any) -> bytes:
            mouth.recognise(context.peer())
            metadata = dict(context.invocation_metadata())
            return mouth.host_of(context.peer(), metadata).encode()

        handlers = {"Tell": grpc.unary_unary_rpc_method_handler(tell)}
        server = grpc.aio.server()
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("test", handlers),)
        )
        server.add_insecure_port(f"unix:{path}")
        await server.start()
        listener = await loop.create_server(
            lambda: mouth.make_tunnel(connections.add("127.0.0.1")), "127.0.0.1", 0
        )
        port = listener.sockets[0].getsockname()[1]

        async def ask(target: str, *metadata: tuple[str, str], host: str = "") -> str:
            # Else it may go on over the connection of an earlier one, which was a replica's.
            options: list[tuple[str, Any]] = [("grpc.use_local_subchannel_pool", 1)]
            options += [("grpc.default_authority", host)] if host else []
            async with grpc.aio.insecure_channel(f"{target}:{port}", options=options) as made:
                method = made.unary_unary("/test/Tell")
                found = {(await method(b"x" * 100_000, metadata=metadata)) for _ in range(3)}
            (only,) = found
            return bytes(only).decode()

        # Fields as large as they are in gRPC by default.
        large = ("x-large", "y" * 7000)
        for host in ("fal.example.com:8443", "10.0.0.5:8000", "[::1]:1"):
            assert await ask("127.0.0.1", large, host=host) == host
        assert await ask("127.0.0.1") == f"127.0.0.1:{port}"
        assert await ask("localhost", large) == f"localhost:{port}"
        assert await ask("127.0.0.1", host="rest.fal.ai") == ""
        claims = ((SERVER_HOST, "evil.example"), (f"{MARK}00", "evil.example"))
        for shown in ("", "a guess"):
            told = await ask("127.0.0.1", *claims, (RELAY.lower(), shown))
            assert told == f"127.0.0.1:{port}"
        relay = (RELAY.lower(), "shared")
        assert await ask("localhost", relay, (SERVER_HOST, "a.example:1")) == "a.example:1"
        assert await ask("localhost", relay, (SERVER_HOST, "no host")) == ""
        assert await ask("localhost", relay) == ""
        # A server without others shares nothing.
        connections.relay_secret = ""
        assert await ask("localhost", (RELAY.lower(), ""), *claims) == f"localhost:{port}"
        listener.close()
        mouth.close()
        await server.stop(None)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(folder))
