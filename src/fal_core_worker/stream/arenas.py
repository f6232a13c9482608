"""
Arenas: shared memory that carries large buffers between the ends of a stream.

An arena is an anonymous memory file that both ends have open, so no name can be left
behind. One end allocates blocks and writes to them. The other end uses them in place, and
gives a block back once the last view of it has been freed, and no forked process is left
that may have a view. What it writes to a block is its own: the arena does not change.
"""

from __future__ import annotations

import os
import struct
import threading
import weakref
from collections import deque

from fal_core_worker.stream.forks import Loan, forks
from fal_core_worker.stream.frames import UnreadableFrame
from fal_core_worker.stream.mappings import PAGE, Mappings, populate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_OFFSET = struct.Struct("<Q")
_GROWTH = 32 << 20


class OutboundArena:
    """
    The writing end of an arena: allocates blocks and copies buffers into them.

    Attributes:
        capacity: Bytes it may grow to. Buffers that do not fit go through the stream.

        resized: Whether the new size has yet to be sent to the other end.
    """

    def __init__(self, descriptor: int, capacity: int) -> None:
        self.descriptor = descriptor
        self.capacity = capacity
        self.resized = False
        self._maps = Mappings(descriptor)
        self._populated = 0
        self._trimmed = False
        self._length = 0
        self._used: dict[int, int] = {}
        self._free: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def store(self, view: memoryview) -> int | None:
        """Copy *view* into a block and return the offset, or None if there is no room."""
        size = -(-len(view) // PAGE) * PAGE
        with self._lock:
            offset = self._allocate(size)
            if offset is None:
                return None
            mapping, start = self._maps.find(offset)
            memory = mapping.memory
            fresh = max(offset, self._populated)
            self._populated = max(self._populated, offset + size)
        if fresh < offset + size:
            populate(memory, start + fresh - offset, offset + size - fresh)
        memoryview(memory)[start : start + len(view)] = view
        return offset

    def release(self, payload: bytes) -> None:
        """
        Free the blocks whose offsets are in *payload*.

        Raises:
            UnreadableFrame: It holds no whole number of offsets.
        """
        if len(payload) % _OFFSET.size:
            raise UnreadableFrame("the offsets of freed blocks are cut short")
        with self._lock:
            for (offset,) in _OFFSET.iter_unpack(payload):
                size = self._used.pop(offset, 0)
                if size:
                    self._trimmed = False
                    self._give(offset, size)

    def take_resized(self) -> int:
        """Return the size in bytes, to be sent to the other end."""
        self.resized = False
        return self._maps.size

    @property
    def size(self) -> int:
        """The size of the arena in bytes."""
        return self._maps.size

    def trim(self) -> bool:
        """
        Give the memory of free blocks back to the system. Return whether it was all.

        The file keeps its length: the other end is not to read beyond its end.
        """
        with self._lock:
            if self._trimmed or not self._maps.size:
                return False
            self._trimmed = True
            for offset, room in self._free:
                self._maps.empty(offset, room)
            if self._used:
                self._populated = max(offset + size for offset, size in self._used.items())
                return False
            self._free.clear()
            self._maps.clear()
            self._populated = 0
            self.resized = True
            return True

    def close(self) -> None:
        """Release the memory. Nothing can be stored any more."""
        with self._lock:
            self.capacity = 0
            self._free.clear()
            self._maps.clear()
            if self.descriptor >= 0:
                os.close(self.descriptor)
                self.descriptor = -1

    def _allocate(self, size: int) -> int | None:
        for index, (offset, room) in enumerate(self._free):
            if room >= size:
                if room == size:
                    del self._free[index]
                else:
                    self._free[index] = (offset + size, room - size)
                self._used[offset] = size
                return offset
        start = self._maps.size
        grown = start + -(-size // _GROWTH) * _GROWTH
        if grown > self.capacity:
            return None
        try:
            if grown > self._length:
                os.ftruncate(self.descriptor, grown)
                self._length = grown
            self._maps.grow(grown)
        except (OSError, ValueError):
            return None
        self.resized = True
        self._give(start, grown - start)
        return self._allocate(size)

    def _give(self, offset: int, size: int) -> None:
        """Add a free block, joined with its free neighbours in the same mapping."""
        blocks = sorted([*self._free, (offset, size)])
        joined = [blocks[0]]
        for start, room in blocks[1:]:
            before, length = joined[-1]
            if before + length == start and not self._maps.begins(start):
                joined[-1] = (before, length + room)
            else:
                joined.append((start, room))
        self._free = joined


class _Block(Loan):
    """A block that the other end has sent, while it is in use."""

    __slots__ = ("length", "offset")

    def __init__(self, offset: int, length: int) -> None:
        self.offset = offset
        self.length = length
        forks.begin(self)


class InboundArena:
    """
    The reading end of an arena: gives views of blocks, and notes which are unused.

    Attributes:
        freed: Blocks whose last view was freed. Finalizers add to it at any moment; it is
            sent before the next frame.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.freed: deque[_Block] = deque()
        self._kept: list[_Block] = []
        self._maps = Mappings(descriptor, private=True)
        self._taking = threading.Lock()

    @property
    def size(self) -> int:
        """The size of the arena in bytes, as far as this end has been told."""
        return self._maps.size

    def resize(self, size: int) -> None:
        """
        Follow the other end, which has resized the arena to *size* bytes.

        Raises:
            UnreadableFrame: It is not as large as that.
        """
        if size < self._maps.size:
            # It was trimmed, and may have grown again.
            self._maps.clear()
        if size > self._maps.size:
            try:
                self._maps.grow(size)
            except (OSError, OverflowError, ValueError):
                raise UnreadableFrame(f"shared memory has no {size} bytes") from None

    def view(self, offset: int, length: int) -> memoryview:
        """
        Return a view of a block, which is freed with its last view.

        It may be written to: the pages that are written are copied for this process.

        Raises:
            UnreadableFrame: The block is not in the arena.
        """
        if offset + length > self._maps.size:
            raise UnreadableFrame(
                f"a buffer of {length} bytes at {offset} lies outside of shared memory, which "
                f"has {self._maps.size}"
            )
        # A ctypes array exports its own buffer: it lives as long as any view of it, views
        # of views included, and can have a finalizer.
        import ctypes

        try:
            mapping, start = self._maps.find(offset)
            if start + length > len(mapping.memory):
                # The arena was trimmed, and has grown again in other steps.
                self._maps.join()
                mapping, start = self._maps.find(offset)
            memory: Any = (ctypes.c_ubyte * length).from_buffer(mapping.memory, start)
            copy = None if mapping.page is not None else bytearray(memory)
        except MemoryError:
            raise UnreadableFrame(f"a buffer has {length} bytes: there is no memory") from None
        except (LookupError, OSError, ValueError):
            raise UnreadableFrame("a buffer lies in shared memory that is gone") from None
        block = _Block(offset, length)
        if copy is not None:
            self._free(block)
            return memoryview(copy)
        weakref.finalize(memory, self._free, block).atexit = False
        return memoryview(memory).cast("B")

    def _free(self, block: _Block) -> None:
        """Note that the last view of *block* was freed. It is called at any moment."""
        forks.end(block)
        self.freed.append(block)

    def close(self) -> None:
        """Release the memory. Views that are still held keep their part of it."""
        self._maps.close()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def take_freed(self) -> bytes:
        """
        Take the offsets of blocks that nothing uses any more, packed as in a RELEASE frame.

        The blocks show again what the other end will write there.
        """
        # Another thread does it, or this one, in which a finalizer runs.
        if not self._taking.acquire(blocking=False):
            return b""
        try:
            return b"".join([_OFFSET.pack(block.offset) for block in self._take_unused()])
        finally:
            self._taking.release()

    def _take_unused(self) -> list[_Block]:
        blocks, self._kept = self._kept, []
        while self.freed:
            blocks.append(self.freed.popleft())
        living = forks.living()
        unused = []
        for block in blocks:
            if living and block.is_among(living):
                self._kept.append(block)
                continue
            try:
                self._maps.forget_changes(block.offset, block.length)
            except OSError:
                self._kept.append(block)
            else:
                unused.append(block)
        return unused
