"""
Supplies: what a worker is given as it starts. Its stream, shared memory, and pipes for its
output.
"""

from __future__ import annotations

# ``socket`` is slow to import, and a first call waits for it.
import _socket
import fcntl
import mmap
import os
from typing import Any

from fal_core.environments import Channel
from fal_core.workers import Arenas, CrashOutput
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_host_local.workers.channels import Wiring


class Supplies:
    """
    What a worker is given as it starts, and the other ends of it.

    Arguments:
        channel: How the worker is spoken to.

        shares_memory: Whether large values go through shared memory, where it can.

        is_reached: Whether ports of this machine lead to it.

    Attributes:
        wiring: The descriptors of the worker.

        settings: What it is told.

        arenas: The shared memory. None where there is none.

        crash_output: What it prints as it crashes. None where no pipe reaches it.
    """

    def __init__(self, channel: Channel, *, shares_memory: bool, is_reached: bool) -> None:
        self._ours, self._theirs = _socket.socketpair()
        self.wiring = wiring = Wiring(channel, self._theirs.fileno())
        self.settings: dict[str, Any] = {}
        self.arenas: Arenas | None = None
        self.crash_output: CrashOutput | None = None
        self._page = -1
        if wiring.is_apart:
            self.settings["stream"] = wiring.stream
            self.settings["relayed"] = wiring.first is None
        else:
            self.settings["kept"] = True
        if is_reached:
            self.settings["address"] = "0.0.0.0"
        if wiring.first is None:
            return
        if shares_memory and hasattr(os, "memfd_create"):
            self.arenas, shared = _make_arenas()
            self._page = shared[2]
            inbound, outbound, self.settings["page"] = wiring.add(shared)
            self.settings["arenas"] = (inbound, outbound, _capacity())
        self.crash_output = CrashOutput()
        self.settings["pipes"] = wiring.add(self.crash_output.given)

    def take_stream(self) -> int:
        """
        Return the descriptor of the stream to the worker, which the caller owns from now on.
        """
        return self._ours.detach()

    def close_given(self) -> None:
        """
        Close what only the worker needs, which has been started, or cannot be.
        """
        self._theirs.close()
        self.wiring.close_given()
        if self._page >= 0:
            # It stays mapped; only the descriptors of the arenas, which grow, are needed.
            os.close(self._page)
        if self.crash_output is not None:
            self.crash_output.close_given()

    def close(self) -> None:
        """
        Close what is open at this end.
        """
        self._ours.close()
        self.wiring.close()
        if self.arenas is not None:
            self.arenas.inbound.close()
            self.arenas.outbound.close()
        if self.crash_output is not None:
            self.crash_output.close()


def _make_arenas() -> tuple[Arenas, list[int]]:
    """
    Return the shared memory of a worker, and the descriptors that it inherits.
    """
    to_worker, from_worker, page = (
        os.memfd_create("fal-core", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING) for _ in range(3)
    )
    os.ftruncate(page, mmap.PAGESIZE)
    for memory in (to_worker, from_worker, page):
        # Reading beyond the end of a file that the other end has shortened is fatal.
        fcntl.fcntl(memory, fcntl.F_ADD_SEALS, fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL)
    arenas = Arenas(
        InboundArena(from_worker),
        OutboundArena(to_worker, _capacity()),
        mmap.mmap(page, mmap.PAGESIZE),
    )
    return arenas, [to_worker, from_worker, page]


def _capacity() -> int:
    """
    Return the size that an arena may grow to: a quarter of the memory, at most 4 GiB.
    """
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min(4 << 30, memory // 4)
