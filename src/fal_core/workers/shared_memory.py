"""The shared memory of a worker."""

from __future__ import annotations

import os
from typing import Any

import attrs

from fal_core.reprs import show_fields


@attrs.frozen
class Arenas:
    """
    Shared memory that a worker was started with.

    Attributes:
        inbound: The arena that the worker writes, as this end sees it.

        outbound: The arena that this end writes.

        page: A mapped page where the worker counts the items it has started.
    """

    __repr__ = show_fields

    inbound: Any
    outbound: Any
    page: Any

    @staticmethod
    def can_be_made() -> bool:
        """Tell whether this system has memory that processes share by its descriptor."""
        return hasattr(os, "memfd_create")

    @classmethod
    def make(cls) -> tuple[Arenas, list[int]]:
        """
        Return new shared memory, and the three descriptors that a worker inherits.

        The last of them is for the worker alone: it may be closed here once the worker has it.
        """
        import fcntl
        import mmap

        from fal_core_worker.stream.arenas import InboundArena, OutboundArena

        to_worker, from_worker, page = (
            os.memfd_create("fal-core", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) for _ in range(3)
        )
        os.ftruncate(page, mmap.PAGESIZE)
        for memory in (to_worker, from_worker, page):
            # Reading beyond the end of a file that the other end has shortened is fatal.
            fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
        inbound, outbound = InboundArena(from_worker), OutboundArena(to_worker, _capacity())
        arenas = cls(inbound, outbound, mmap.mmap(page, mmap.PAGESIZE))
        return arenas, [to_worker, from_worker, page]

    @staticmethod
    def settings(numbers: tuple[int, ...]) -> dict[str, Any]:
        """Return the settings of a worker that has inherited the descriptors under *numbers*."""
        inbound, outbound, page = numbers
        return {"arenas": (inbound, outbound, _capacity()), "page": page}

    def close(self) -> None:
        """Close it, where no worker was made that owns it."""
        self.inbound.close()
        self.outbound.close()


def _capacity() -> int:
    """Return the size that an arena may grow to: a quarter of the memory, at most 4 GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(4 << 30, memory // 4)
