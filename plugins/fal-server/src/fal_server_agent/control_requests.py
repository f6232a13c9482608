"""
Control requests: what a control plane sends to an agent, and how that is answered.
"""

from __future__ import annotations

import asyncio

#: The largest message, and the largest headers of a request, in bytes.
_LARGEST, LARGEST_HEADERS = 1 << 31, 1 << 20


def write(writer: asyncio.StreamWriter, message: bytes) -> None:
    """
    Write *message* after its length, if somebody still reads.
    """
    if not writer.is_closing():
        writer.write(len(message).to_bytes(8, "little") + message)


def respond(writer: asyncio.StreamWriter, body: bytes, status: str = "200 OK") -> None:
    """
    Write a response.
    """
    head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode())
    writer.write(body)


async def read_head(reader: asyncio.StreamReader) -> tuple[str, dict[str, str]] | None:
    """
    Read the path and the headers of one request. None at the end of the connection.

    Raises:
        ValueError: They are too large.
    """
    words = (await reader.readline()).split()
    if len(words) < 3:
        return None
    headers: dict[str, str] = {}
    size = 0
    while (line := await reader.readline()) not in (b"\r\n", b"\n", b""):
        if (size := size + len(line)) > LARGEST_HEADERS:
            raise ValueError("The headers are too large.")
        name, _, value = line.decode("latin-1").partition(":")
        headers[name.strip().lower()] = value.strip()
    return words[1].decode("latin-1"), headers


async def read_body(reader: asyncio.StreamReader, headers: dict[str, str]) -> bytes:
    """
    Read the body of a request, after its head.

    Raises:
        ValueError: It is too large.
    """
    size = int(headers.get("content-length") or 0)
    if not 0 <= size <= _LARGEST:
        raise ValueError("The message is too large.")
    return await reader.readexactly(size)
