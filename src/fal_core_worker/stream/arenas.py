"""
Arenas: shared memory that carries large buffers between the ends of a stream.

An arena is an anonymous memory file that both ends have open, so no name can be left
behind. One end allocates blocks and writes to them. The other end reads them in place,
and gives a block back once the last view of it has been freed.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import weakref
from bisect import bisect_right

from fal_core_worker.stream.frames import UnreadableFrame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PAGE = 4096
_OFFSET = struct.Struct("<Q")
_GROWTH = 32 << 20
#: MADV_POPULATE_WRITE, which ``mmap`` does not name yet. It maps all pages at once,
#: several times faster than page by page.
_POPULATE_WRITE = 23


class _Maps:
    """
    The mappings of an arena: one for each time it has grown.

    A mapping never moves, so views of it stay valid and its pages stay populated.
    """

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._starts: list[int] = []
        self._maps: list[mmap.mmap] = []

    def grow(self, size: int) -> None:
        """
        Map what lies between the current size and *size*.
        """
        new = mmap.mmap(self._descriptor, size - self.size, offset=self.size)
        self._starts.append(self.size)
        self._maps.append(new)
        self.size = size

    def find(self, offset: int) -> tuple[mmap.mmap, int]:
        """
        Return the mapping that holds the block at *offset*, and the position in it.
        """
        index = bisect_right(self._starts, offset) - 1
        return self._maps[index], offset - self._starts[index]

    def join(self) -> None:
        """
        Replace all mappings by a single one.
        """
        size = self.size
        self.clear()
        self.grow(size)

    def begins(self, offset: int) -> bool:
        """
        Tell whether a mapping begins at *offset*. No block spans two mappings.
        """
        return offset in self._starts

    def empty(self) -> None:
        """
        Give the memory of all mappings back to the system.
        """
        for mapped in self._maps:
            mapped.madvise(mmap.MADV_REMOVE)

    def clear(self) -> None:
        """
        Drop all mappings.
        """
        self.size = 0
        self._starts, self._maps = [], []


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
        self._maps = _Maps(descriptor)
        self._populated = 0
        self._length = 0
        self._used: dict[int, int] = {}
        self._free: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def store(self, view: memoryview) -> int | None:
        """
        Copy *view* into a block and return the offset, or None if there is no room.
        """
        size = -(-len(view) // _PAGE) * _PAGE
        with self._lock:
            offset = self._allocate(size)
            if offset is None:
                return None
            mapped, start = self._maps.find(offset)
            fresh = max(offset, self._populated)
            self._populated = max(self._populated, offset + size)
        if fresh < offset + size:
            _populate(mapped, start + fresh - offset, offset + size - fresh)
        memoryview(mapped)[start : start + len(view)] = view
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
                    self._give(offset, size)

    def take_resized(self) -> int:
        """
        Return the size in bytes, to be sent to the other end.
        """
        self.resized = False
        return self._maps.size

    @property
    def size(self) -> int:
        """
        The size of the arena in bytes.
        """
        return self._maps.size

    def trim(self) -> bool:
        """
        Give all memory back to the system if no block is in use. Return whether it was.

        The file keeps its length: the other end is not to read beyond its end.
        """
        with self._lock:
            if self._used or not self._maps.size:
                return False
            self._maps.empty()
            self._free.clear()
            self._maps.clear()
            self._populated = 0
            self.resized = True
            return True

    def close(self) -> None:
        """
        Release the memory. Nothing can be stored any more.
        """
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
        """
        Add a free block, joined with its free neighbours in the same mapping.
        """
        blocks = sorted([*self._free, (offset, size)])
        joined = [blocks[0]]
        for start, room in blocks[1:]:
            before, length = joined[-1]
            if before + length == start and not self._maps.begins(start):
                joined[-1] = (before, length + room)
            else:
                joined.append((start, room))
        self._free = joined


def _populate(mapped: mmap.mmap, start: int, size: int) -> None:
    """
    Have the system map all pages of a block at once, where it can.
    """
    try:
        mapped.madvise(_POPULATE_WRITE, start, size)
    except (AttributeError, OSError):
        pass  # The pages are mapped one by one as the block is written.


class InboundArena:
    """
    The reading end of an arena: gives views of blocks, and notes which are unused.

    Attributes:
        freed: Offsets of blocks whose last view was freed. Finalizers add to it at any
            moment; it is sent before the next frame.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.freed: list[int] = []
        self._maps = _Maps(descriptor)

    @property
    def size(self) -> int:
        """
        The size of the arena in bytes, as far as this end has been told.
        """
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
        Return a read-only view of a block, which is freed with its last view.

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
            mapped, start = self._maps.find(offset)
            if start + length > len(mapped):
                # The arena was trimmed, and has grown again in other steps.
                self._maps.join()
                mapped, start = self._maps.find(offset)
            block: Any = (ctypes.c_ubyte * length).from_buffer(mapped, start)
        except (LookupError, OSError, ValueError):
            raise UnreadableFrame("a buffer lies in shared memory that is gone") from None
        weakref.finalize(block, self.freed.append, offset).atexit = False
        return memoryview(block).cast("B").toreadonly()

    def close(self) -> None:
        """
        Release the memory. Views that are still held keep their part of it.
        """
        self._maps.clear()
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def take_freed(self) -> bytes:
        """
        Take the offsets of freed blocks, packed as in a RELEASE frame.
        """
        count = len(self.freed)
        offsets, self.freed[:count] = self.freed[:count], []
        return b"".join(map(_OFFSET.pack, offsets))
