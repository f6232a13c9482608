"""Control servers: how an agent unpickles and runs the function that it receives."""

from __future__ import annotations

import asyncio
import contextlib
import json
import pickle
import socket
from pathlib import Path
from typing import Any

from fal_server_agent.control_servers import ControlServer
from fal_server_agent.messages import unpack


class Noted:
    """A function that makes a directory when it is unpickled, so that this works only once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> Any:
        note = f"__import__('os').mkdir({str(self.folder)!r})"
        return eval, (f"[{note}, lambda *, exposed_port: 'served'][1]",)


def serve(definition: bytes) -> tuple[dict[str, Any], list[bytes]]:
    """Serve a pickled function, and return the message of its outcome."""

    async def main() -> bytes:
        return await ControlServer("")._serve_now({"call": "one"}, [definition, b""])

    return unpack(asyncio.run(main()))


def test_served_function_is_unpickled_once(tmp_path: Path):
    """A function is unpickled once, also to find out which port it wants."""
    header, parts = serve(pickle.dumps(Noted(tmp_path / "opened")))
    assert (header["raised"], pickle.loads(parts[0])) == (False, "served")
    assert (tmp_path / "opened").is_dir()


def test_unpicklable_function_raises():
    """An exception raised while a function is unpickled is the outcome of the call."""
    header, _ = serve(b"no pickle")
    assert (header["raised"], header["type"]) == (True, "UnpicklingError")


def test_request_without_end_is_cut_off():
    """An agent reads only so many headers of whoever has not shown its token."""

    async def main() -> bytes:
        near, far = socket.socketpair()
        server = ControlServer("token")
        reader, writer = await asyncio.open_connection(sock=near)
        taken = asyncio.create_task(
            server._take(*await asyncio.open_connection(sock=far, limit=1 << 20))
        )
        writer.write(b"POST /ping HTTP/1.1\r\n")
        for number in range(3):
            writer.write(b"name-%d: %s\r\n" % (number, b"x" * 500_000))
        # Neither the headers nor the connection have an end.
        await asyncio.wait_for(taken, 60)
        writer.close()
        with contextlib.suppress(ConnectionError):
            return await reader.read()
        return b""

    assert asyncio.run(main()) == b""


def test_looking_at_a_runner_does_not_use_it():
    """An agent tells what it uses, and ends as one that had no request."""

    async def main() -> bytes:
        near, far = socket.socketpair()
        server = ControlServer("")
        reader, writer = await asyncio.open_connection(sock=near)
        taken = asyncio.create_task(server._take(*await asyncio.open_connection(sock=far)))
        writer.write(b"POST /usage HTTP/1.1\r\nContent-Length: 0\r\n\r\n")
        writer.write_eof()
        told = await reader.read()
        await taken
        writer.close()
        server._end_unused()
        assert server._ended.is_set()
        return told.partition(b"\r\n\r\n")[2]

    assert json.loads(asyncio.run(main()))["memory"] > 0
