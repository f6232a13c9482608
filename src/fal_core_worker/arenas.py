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
from typing import Any

_PAGE = 4096
_OFFSET = struct.Struct("<Q")
_GROWTH = 32 << 20


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
        self._size = 0
        self._map: mmap.mmap | None = None
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
            mapped = self._map
        if offset is None or mapped is None:
            return None
        memoryview(mapped)[offset : offset + len(view)] = view
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
        return self._size

    def trim(self) -> bool:
        """
        Give all memory back to the system if no block is in use.
        """
        with self._lock:
            if self._used or not self._size:
                return False
            self._free.clear()
            self._map = None
            self._size = 0
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
        tail = self._free[-1] if self._free else (self._size, 0)
        have = tail[1] if tail[0] + tail[1] == self._size else 0
        grown = self._size + -(-(size - have) // _GROWTH) * _GROWTH
        if grown > self.capacity:
            return None
        try:
            os.ftruncate(self.descriptor, grown)
            self._map = mmap.mmap(self.descriptor, grown)
        except (OSError, ValueError):
            return None
        start, self._size = self._size, grown
        self.resized = True
        self._give(start, grown - start)
        return self._allocate(size)

    def _give(self, offset: int, size: int) -> None:
        """
        Add a free block and join it with its neighbours.
        """
        blocks = sorted([*self._free, (offset, size)])
        joined = [blocks[0]]
        for start, room in blocks[1:]:
            before, length = joined[-1]
            if before + length == start:
                joined[-1] = (before, length + room)
            else:
                joined.append((start, room))
        self._free = joined


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
        self._map: mmap.mmap | None = None

    def resize(self, size: int) -> None:
        """
        Follow the other end, which says that the arena has *size* bytes.
        """
        self._map = mmap.mmap(self.descriptor, size) if size else None

    def view(self, offset: int, length: int) -> memoryview:
        """
        Return a read-only view of a block; the block is free when no view is left.
        """
        # A ctypes array exports its buffer itself, so that it lives as long as
        # any view of a view of it, and its end can be seen.
        import ctypes

        assert self._map is not None
        block: Any = (ctypes.c_ubyte * length).from_buffer(self._map, offset)
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
