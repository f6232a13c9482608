"""
Arenas: shared memory that carries large buffers between the ends of a stream.

An arena is an anonymous memory file that both ends have open, so that nothing
can be left behind under a name. One end writes to it: it alone allocates. The
other end reads in place, and gives a block back when its last view has died.
"""

from __future__ import annotations

import mmap
import os
import struct
import threading
import weakref
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_PAGE = 4096
_OFFSET = struct.Struct("<Q")
_GROWTH = 32 << 20
#: Not named by ``mmap`` yet: maps pages at once, several times as fast as one by one.
_POPULATE_WRITE = 23


class _Maps:
    """
    The mappings of an arena: one for each time it has grown.

    What is mapped stays where it is, as views of it and the pages that the system
    has found for it do.
    """

    def __init__(self, descriptor: int) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._starts: list[int] = []
        self._maps: list[mmap.mmap] = []

    def grow(self, size: int) -> None:
        """
        Map what lies between the size until now and *size*.
        """
        new = mmap.mmap(self._descriptor, size - self.size, offset=self.size)
        self._starts.append(self.size)
        self._maps.append(new)
        self.size = size

    def find(self, offset: int) -> tuple[mmap.mmap, int]:
        """
        Return the mapping that a block is in, and where it begins in there.
        """
        index = bisect_right(self._starts, offset) - 1
        return self._maps[index], offset - self._starts[index]

    def join(self) -> None:
        """
        Map everything anew, as one.
        """
        size = self.size
        self.clear()
        self.grow(size)

    def begins(self, offset: int) -> bool:
        """
        Tell whether a mapping begins at *offset*; no block reaches across.
        """
        return offset in self._starts

    def clear(self) -> None:
        """
        Let go of everything.
        """
        self.size = 0
        self._starts, self._maps = [], []


class OutboundArena:
    """
    The writing end: allocates blocks and copies buffers into them.

    Attributes:
        capacity: Bytes it may grow to; beyond them buffers go through the stream.

        resized: Whether the other end has yet to be told the size.
    """

    def __init__(self, descriptor: int, capacity: int) -> None:
        self.descriptor = descriptor
        self.capacity = capacity
        self.resized = False
        self._maps = _Maps(descriptor)
        self._populated = 0
        self._used: dict[int, int] = {}
        self._free: list[tuple[int, int]] = []
        self._lock = threading.Lock()

    def store(self, view: memoryview) -> int | None:
        """
        Copy *view* into a block and return its offset, or None if it has no room.
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
        Take blocks back whose offsets *payload* holds.
        """
        with self._lock:
            for (offset,) in _OFFSET.iter_unpack(payload):
                size = self._used.pop(offset, 0)
                if size:
                    self._give(offset, size)

    def take_resized(self) -> int:
        """
        Return the size to tell the other end, in bytes.
        """
        self.resized = False
        return self._maps.size

    @property
    def size(self) -> int:
        """
        Bytes of the arena.
        """
        return self._maps.size

    def trim(self) -> bool:
        """
        Give all memory back to the system if no block is in use.
        """
        with self._lock:
            if self._used or not self._maps.size:
                return False
            self._free.clear()
            self._maps.clear()
            self._populated = 0
            os.ftruncate(self.descriptor, 0)
            self.resized = True
            return True

    def close(self) -> None:
        """
        Let go of the memory; nothing can be stored any more.
        """
        with self._lock:
            self.capacity = 0
            self._free.clear()
            self._map = None
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
            os.ftruncate(self.descriptor, grown)
            self._maps.grow(grown)
        except (OSError, ValueError):
            return None
        self.resized = True
        self._give(start, grown - start)
        return self._allocate(size)

    def _give(self, offset: int, size: int) -> None:
        """
        Add a free block and join it with its neighbours of the same mapping.
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
    Have the system find memory for all of a block at once, where it can.
    """
    try:
        mapped.madvise(_POPULATE_WRITE, start, size)
    except (AttributeError, OSError):
        pass  # It is found page by page, as the block is written.


class InboundArena:
    """
    The reading end: gives views of blocks, and collects those that have died.

    Attributes:
        freed: Offsets of blocks whose last view has died. Finalizers add to it
            at any moment, so that it is sent with the next frame.
    """

    def __init__(self, descriptor: int) -> None:
        self.descriptor = descriptor
        self.freed: list[int] = []
        self._maps = _Maps(descriptor)

    @property
    def size(self) -> int:
        """
        Bytes of the arena, as this end knows it.
        """
        return self._maps.size

    def resize(self, size: int) -> None:
        """
        Follow the other end, which says that the arena has *size* bytes.
        """
        if size > self._maps.size:
            self._maps.grow(size)
        elif not size:
            self._maps.clear()

    def view(self, offset: int, length: int) -> memoryview:
        """
        Return a read-only view of a block; the block is free when no view is left.
        """
        # A ctypes array exports its buffer itself, so that it lives as long as
        # any view of a view of it, and its end can be seen.
        import ctypes

        mapped, start = self._maps.find(offset)
        if start + length > len(mapped):
            # The other end has begun anew and grown in other steps.
            self._maps.join()
            mapped, start = self._maps.find(offset)
        block: Any = (ctypes.c_ubyte * length).from_buffer(mapped, start)
        weakref.finalize(block, self.freed.append, offset).atexit = False
        return memoryview(block).cast("B").toreadonly()

    def close(self) -> None:
        """
        Let go of the memory; views that are held keep it until they die.
        """
        self._map = None
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1

    def take_freed(self) -> bytes:
        """
        Return the offsets of freed blocks, as a RELEASE frame carries them.
        """
        count = len(self.freed)
        offsets, self.freed[:count] = self.freed[:count], []
        return b"".join(map(_OFFSET.pack, offsets))
