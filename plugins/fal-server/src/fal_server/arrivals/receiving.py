"""Receiving: chunks of a request, written in threads."""

from __future__ import annotations

import functools
from collections.abc import AsyncIterator, Callable
from typing import IO

from fal_server.errors import TooLarge
from fal_server.state.file_stores import translated
from fal_server.state.tasks import run_in_thread

#: How many bytes are written at once.
_AT_ONCE = 1 << 20


async def receive(
    chunks: AsyncIterator[bytes], path: str, largest: int, hash: Callable[[bytes], None]
) -> int:
    """
    Write chunks to a new file *path*, *hash* them, and return how many bytes they have.

    Raises:
        TooLarge: They have more than *largest* bytes.

        StorageFull: The disk is full.
    """
    with translated(), open(path, "xb", buffering=0) as target:
        return await deliver(chunks, functools.partial(write_all, target), largest, hash)


async def deliver(
    chunks: AsyncIterator[bytes],
    write: Callable[[bytes], None],
    largest: int,
    hash: Callable[[bytes], None],
) -> int:
    """
    Call *write* and *hash* with chunks in threads, and return how many bytes they have. No
    thread goes on after it.

    Raises:
        TooLarge: They have more than *largest* bytes.
    """
    size = waiting = 0
    kept: list[bytes] = []

    def store() -> None:
        for chunk in kept:
            hash(chunk)
        write(kept[0] if len(kept) == 1 else b"".join(kept))

    async for chunk in chunks:
        size += len(chunk)
        if size > largest:
            raise TooLarge(f"At most {largest} bytes are accepted.")
        kept.append(chunk)
        waiting += len(chunk)
        if waiting >= _AT_ONCE:
            # Chunks are small, and each change of threads takes a while.
            await run_in_thread(store)
            kept.clear()
            waiting = 0
    if kept:
        await run_in_thread(store)
    return size


def write_all(target: IO[bytes], content: bytes) -> None:
    """Write all of *content* to an unbuffered file. A system may take a part of it only."""
    left = memoryview(content)
    while left:
        left = left[target.write(left) :]
