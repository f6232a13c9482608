"""
Tunnels: gRPC connections whose clients have shown a key, and those that have not.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path
from typing import Any

from fal_server.limits import Limits
from fal_server.listeners.grpc_tunnels import TunnelMouth
from fal_server.listeners.open_connections import OpenConnection


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
