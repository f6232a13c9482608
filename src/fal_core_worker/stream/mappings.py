"""Mappings: the memory of an arena, as one end of a stream has mapped it."""

from __future__ import annotations

import mmap
import os
from bisect import bisect_right

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

PAGE = mmap.PAGESIZE
#: MADV_POPULATE_WRITE, which ``mmap`` does not name yet. It maps all pages at once,
#: several times faster than page by page.
_POPULATE_WRITE = 23
#: Python 3.10 does not name it. Without it the system may set memory aside for pages that
#: are never written.
_NORESERVE = getattr(mmap, "MAP_NORESERVE", 0)

_PAGES = "/proc/self/pagemap"
#: Bytes that it has for each page. The last of them has a bit for each of: in memory,
#: swapped out, belongs to a file.
_ENTRY = 8
_IS_COPY = bytes(entry >= 0x40 and not entry & 0x20 for entry in range(256))
#: So many pages without a change end a range of changed ones. Mapping them again costs
#: less than one call for each range.
_GAP = bytes(16)


class Mapping:
    """
    A part of an arena that is mapped as a whole.

    Attributes:
        start: Its first byte in the arena.

        memory: What is mapped.

        page: The number of its first page in this process, or None for memory that is
            shared. Of any other, a page that is written to is copied for this process.
    """

    __slots__ = ("memory", "page", "start")

    def __init__(self, start: int, memory: mmap.mmap, page: int | None = None) -> None:
        self.start = start
        self.memory = memory
        self.page = page


class Mappings:
    """
    The mappings of an arena: one for each time it has grown.

    A mapping never moves, so views of it stay valid and its pages stay populated.

    Arguments:
        private: Whether the mappings are private, where the system has room for it.
    """

    def __init__(self, descriptor: int, *, private: bool = False) -> None:
        self.size = 0
        self._descriptor = descriptor
        self._private = private
        self._pages = -1
        self._mappings: list[Mapping] = []
        self._starts: list[int] = []

    def grow(self, size: int) -> None:
        """
        Map what lies between the current size and *size*.

        Raises:
            OSError: There is no room for it.

            ValueError: The arena is not as large as that.
        """
        new = self._map_privately(size) if self._private else None
        if new is None:
            memory = mmap.mmap(self._descriptor, size - self.size, offset=self.size)
            new = Mapping(self.size, memory)
        self._mappings.append(new)
        self._starts.append(self.size)
        self.size = size

    def _map_privately(self, size: int) -> Mapping | None:
        """Return a private mapping, or None where it would count as memory that is not there."""
        import ctypes

        flags = mmap.MAP_PRIVATE | _NORESERVE
        try:
            memory = mmap.mmap(
                self._descriptor, size - self.size, flags=flags, offset=self.size
            )
            if self._pages < 0:
                self._pages = os.open(_PAGES, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        address = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        mapping = Mapping(self.size, memory, address // PAGE)
        # A process that locks its memory has a copy of each page from the beginning.
        return None if any(self._find_copies(mapping, 0, PAGE)) else mapping

    def find(self, offset: int) -> tuple[Mapping, int]:
        """Return the mapping that holds the block at *offset*, and the position in it."""
        index = bisect_right(self._starts, offset) - 1
        mapping = self._mappings[index]
        return mapping, offset - mapping.start

    def join(self) -> None:
        """Replace all mappings by a single one."""
        size = self.size
        self.clear()
        self.grow(size)

    def forget_changes(self, offset: int, size: int) -> None:
        """
        Drop what was written to a block of a private mapping, which shows the arena again.

        Raises:
            OSError: The system keeps it, as it does for a process that locks its memory.
        """
        try:
            mapping, start = self.find(offset)
        except LookupError:
            return  # The other end has trimmed the arena.
        # To drop pages that were not written to is as right, but they are to be mapped again.
        for first, count in self._find_copies(mapping, start, size):
            mapping.memory.madvise(mmap.MADV_DONTNEED, start + first * PAGE, count * PAGE)

    def _find_copies(
        self, mapping: Mapping, start: int, size: int
    ) -> Iterable[tuple[int, int]]:
        """
        Return the ranges of pages that were written to, as the first of them and their number.

        The first page is that at *start*. Where the system does not tell, all of them may
        have been written to.
        """
        if mapping.page is None:
            return ()
        count = -(-min(size, len(mapping.memory) - start) // PAGE)
        try:
            page = mapping.page + start // PAGE
            entries = os.pread(self._pages, count * _ENTRY, page * _ENTRY)
        except OSError:
            entries = b""
        if len(entries) != count * _ENTRY:
            return ((0, count),)
        copies = entries[_ENTRY - 1 :: _ENTRY].translate(_IS_COPY)
        return _find_ranges(copies) if 1 in copies else ()

    def begins(self, offset: int) -> bool:
        """Tell whether a mapping begins at *offset*. No block spans two mappings."""
        return offset in self._starts

    def empty(self, offset: int, size: int) -> None:
        """Give the memory of a block back to the system."""
        mapping, start = self.find(offset)
        mapping.memory.madvise(mmap.MADV_REMOVE, start, size)

    def clear(self) -> None:
        """Drop all mappings."""
        self.size = 0
        self._mappings, self._starts = [], []

    def close(self) -> None:
        """Drop all mappings, and close what is open for them."""
        self.clear()
        if self._pages >= 0:
            os.close(self._pages)
            self._pages = -1


def populate(mapped: mmap.mmap, start: int, size: int) -> None:
    """Have the system map all pages of a block at once, where it can."""
    try:
        mapped.madvise(_POPULATE_WRITE, start, size)
    except (AttributeError, OSError):
        pass  # The pages are mapped one by one as the block is written.


def _find_ranges(copies: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of ones in *copies*, as the first of them and their number."""
    first = copies.find(1)
    while first >= 0:
        end = copies.find(_GAP, first)
        if end < 0:
            end = copies.rfind(1) + 1
        yield first, end - first
        first = copies.find(1, end)
