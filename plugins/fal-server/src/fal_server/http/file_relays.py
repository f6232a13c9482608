"""
File relays: downloads of files that are in no folder of this machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Protocol

from aiohttp import web

from fal_server.errors import NotFound


class Pieces(Protocol):
    """
    Yields the bytes of a file, from *start* on.
    """

    def __call__(self, *, start: int) -> Iterator[bytes]: ...


async def relay(
    request: web.Request, headers: Mapping[str, str], size: int, pieces: Pieces
) -> web.StreamResponse:
    """
    Answer a request for a file of *size* bytes, or for a range of them.

    Raises:
        NotFound: The file is gone.

        StateUnavailable: It cannot be read at present.
    """
    start, end, status = _range_of(request, size)
    if status == 416:
        return web.Response(status=416, headers={"Content-Range": f"bytes */{size}"})
    response = web.StreamResponse(status=status, headers=headers)
    response.headers["Accept-Ranges"] = "bytes"
    response.content_length = left = end - start
    if status == 206:
        response.headers["Content-Range"] = f"bytes {start}-{end - 1}/{size}"
    found = pieces(start=start)
    try:
        # As long as nothing is sent, the client can be told what is wrong.
        piece = await asyncio.to_thread(next, found, b"") if left else b""
    except FileNotFoundError:
        raise NotFound("There is no such file.") from None
    await response.prepare(request)
    while piece:
        await response.write(piece[:left])
        left -= len(piece)
        piece = await asyncio.to_thread(next, found, b"") if left > 0 else b""
    await response.write_eof()
    return response


def _range_of(request: web.Request, size: int) -> tuple[int, int, int]:
    """
    Return the first byte that is asked for, the one after the last, and the status of the
    response. What cannot be read asks for all of it, and so does a condition.
    """
    try:
        asked = request.http_range
    except ValueError:
        return 0, size, 416
    if (asked.start is None and asked.stop is None) or "If-Range" in request.headers:
        return 0, size, 200
    start, end, _ = asked.indices(size)
    return (start, end, 206) if start < end else (0, size, 416)
