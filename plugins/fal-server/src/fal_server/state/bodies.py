"""
Bodies of requests and responses: small ones in memory, large ones in files.

A large body is written to its file as it arrives, and read from there as it is sent, so that
it is never in memory as a whole. What refers to a file is stored in the database once the
file is durable; a file to which nothing refers is a leftover of a server that was killed.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from pathlib import Path

import attrs

from fal_core.caches import remove_quietly
from fal_server.errors import STATE_TROUBLE, TooLarge
from fal_server.state.disk_reserves import DiskReserve
from fal_server.state.file_stores import FileStore, translated
from fal_server.state.tasks import insist

#: The largest body that is kept in memory and in the database, in bytes.
SMALL = 1 << 16

#: How many bytes of a large body are in memory at once.
_PIECE = 1 << 17

#: Seconds after which a file in a shared store that nothing refers to is a leftover.
_SHARED = 3600.0


@attrs.frozen(kw_only=True)
class Body:
    """
    A body that has arrived.

    Attributes:
        content: The bytes of a small one.

        files: The store that has the file of a large one. None for a small one.

        name: The name of that file.
    """

    size: int = 0
    content: bytes = attrs.field(default=b"", repr=False)
    files: FileStore | None = None
    name: str = ""

    @classmethod
    def of(cls, content: bytes) -> Body:
        """Return the body with this content."""
        return cls(size=len(content), content=content)

    async def pieces(self) -> AsyncIterator[bytes]:
        """
        Yield its bytes.

        Raises:
            OSError: The file cannot be read, or is not complete.

            StateUnavailable: The store of files could not be reached for too long.
        """
        if self.files is None:
            if self.content:
                yield self.content
            return
        pieces = self.pieces_here()
        while piece := await asyncio.to_thread(next, pieces, b""):
            yield piece

    async def begun(self) -> AsyncIterator[bytes]:
        """
        Read its beginning, and return an iterator over all of its bytes.

        Raises:
            OSError, StateUnavailable: As :meth:`pieces` does.
        """
        pieces = self.pieces()
        first = await anext(pieces, b"")

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for piece in pieces:
                yield piece

        return whole()

    def pieces_here(self) -> Iterator[bytes]:
        """Do the same as :meth:`pieces`, in this thread."""
        if self.files is None:
            yield from (self.content,) if self.content else ()
        else:
            yield from self.files.pieces(self.name, self.size, most=_PIECE)

    def start(self) -> bytes:
        """Return its first bytes: all of a small body."""
        return next(self.pieces_here(), b"")


class BodyFiles:
    """The files of large bodies."""

    def __init__(self, store: FileStore) -> None:
        self._store = store
        self._arriving: set[str] = set()

    def find(self, name: str, size: int, content: bytes) -> Body:
        """Return a body that was stored with this *content*. None of a large one is in there."""
        if size and not content:
            return Body(size=size, files=self._store, name=name)
        return Body.of(content)

    def receive(
        self,
        name: str,
        *,
        largest: int,
        patient: bool = False,
        reserve: DiskReserve | None = None,
    ) -> IncomingBody:
        """
        Return a body that arrives, whose file will have this *name*.

        Arguments:
            largest: The most bytes that it may have.

            patient: Whether to wait while the disk is full.

            reserve: What stays free on the disk. None for a body that may fill it.
        """
        self._arriving.add(name)
        return IncomingBody(
            self._store,
            name,
            largest,
            patient,
            lambda: self._arriving.discard(name),
            reserve,
        )

    def remove(self, name: str) -> None:
        """Remove the file of a body, in the background. There may be none."""
        _remove(self._store, name)

    async def remove_leftovers(
        self, choose: Callable[[Iterable[str]], Iterator[str]], *, count: int = 500
    ) -> None:
        """
        Remove files that nothing refers to.

        Arguments:
            choose: Chooses those of up to *count* names that nothing refers to. It runs in
                a thread.
        """

        def work() -> None:
            # Another server may have put it there, and be about to refer to it.
            before = time.time() - _SHARED if self._store.is_shared else math.inf
            names = [each.name for each in self._store.find("") if each.modified < before]
            # One that arrived meanwhile is referred to by now.
            names = [name for name in names if name not in arriving]
            for start in range(0, len(names), count):
                for name in choose(names[start : start + count]):
                    with contextlib.suppress(OSError):
                        self._store.remove(name)

        arriving = frozenset(self._arriving)
        await asyncio.to_thread(work)


class IncomingBody:
    """
    A body that arrives. At the end of its context it is discarded, unless it was kept or
    somebody else has taken the responsibility for that.

    Attributes:
        size: The bytes that have arrived.

        largest: The most bytes that may arrive.
    """

    def __init__(
        self,
        store: FileStore,
        name: str,
        largest: int,
        patient: bool,
        ended: Callable[[], None],
        reserve: DiskReserve | None = None,
    ) -> None:
        self.size = 0
        self.largest = largest
        self._store = store
        self._name = name
        self._patient = patient
        self._ended = ended
        self._reserve = reserve
        self._parts: list[bytes] = []
        self._written = 0
        self._has_file = False
        self._is_taken = False

    def __enter__(self) -> IncomingBody:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_taken:
            self.discard()

    async def write(self, piece: bytes) -> None:
        """
        Add bytes.

        Raises:
            TooLarge: There are more than it may have.

            StorageFull: The disk is full.

            DiskReserved: What is left on the disk is kept for others.
        """
        self.size += len(piece)
        if self.size > self.largest:
            raise TooLarge(f"The body has more than {self.largest} bytes.")
        self._parts.append(piece)
        if self.size - self._written > (_PIECE if self._has_file else SMALL):
            if self._reserve is not None:
                self._reserve.check()
            await self._flush()

    async def finish(self) -> Body:
        """
        Return the whole body, which is durable if it has a file.

        Raises:
            StorageFull: The disk is full.
        """
        if not self._has_file:
            return Body.of(b"".join(self._parts))
        await self._flush()
        await self._try(self._put)
        return Body(size=self.size, files=self._store, name=self._name)

    def take(self) -> None:
        """Take the responsibility to keep or to discard it."""
        self._is_taken = True

    def keep(self) -> None:
        """Keep its file, which is referred to now."""
        self._is_taken = True
        self._ended()

    def discard(self) -> None:
        """Remove its file."""
        self._is_taken = True
        self._parts.clear()
        self._ended()
        if self._has_file:
            _remove(self._store, self._name)

    async def _flush(self) -> None:
        content = b"".join(self._parts)
        self._parts.clear()
        offset, self._written = self._written, self._written + len(content)
        flags = os.O_WRONLY | (0 if self._has_file else os.O_CREAT | os.O_TRUNC)
        self._has_file = True
        await self._try(lambda: self._write(content, offset, flags))

    async def _try(self, work: Callable[[], None]) -> None:
        if self._patient:
            await insist(lambda: asyncio.to_thread(work))
        else:
            await asyncio.to_thread(work)

    def _write(self, content: bytes, offset: int, flags: int) -> None:
        # The file is opened each time: a thread that goes on after its task was cancelled
        # must not write to what the descriptor stands for by then.
        path = self._store.place_of(self._name)
        with translated(), _opened(path, flags) as file:
            left = memoryview(content)
            while left:
                count = os.pwrite(file, left, offset)
                left, offset = left[count:], offset + count

    def _put(self) -> None:
        self._store.put(self._store.place_of(self._name), self._name)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    file = os.open(path, flags | os.O_CLOEXEC, 0o600)
    try:
        yield file
    finally:
        os.close(file)


def _remove(store: FileStore, name: str) -> None:
    def work() -> None:
        remove_quietly(store.place_of(name))
        with contextlib.suppress(OSError, *STATE_TROUBLE):
            # What is left there is removed as one of the leftovers.
            store.remove(name)

    # To remove a large file takes a while.
    asyncio.get_running_loop().run_in_executor(None, work)
