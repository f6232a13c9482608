"""A server of aiohttp that writes what it is sent to a file, and sends it back."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

from aiohttp import web

_CHUNK = 1 << 18


def main(folder: str) -> None:
    """Serve until it is ended, and print the port first."""
    path = Path(folder) / "file"

    async def put(request: web.Request) -> web.Response:
        with path.open("wb") as file:
            async for chunk in request.content.iter_chunked(_CHUNK):
                file.write(chunk)
        return web.Response()

    async def get(_: web.Request) -> web.StreamResponse:
        return web.FileResponse(path)

    application = web.Application()
    application.router.add_put("/file", put)
    application.router.add_get("/file", get)

    listening = socket.create_server(("127.0.0.1", 0))
    # Connections wait until it answers.
    print(listening.getsockname()[1], flush=True)
    web.run_app(application, sock=listening, print=None)


if __name__ == "__main__":
    main(sys.argv[1])
