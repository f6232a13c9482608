"""
Supplies: what a worker is given as it starts. Its stream, shared memory, and pipes for its
output.
"""

from __future__ import annotations

# ``socket`` is slow to import, and a first call waits for it.
import _socket
import os
from typing import Any

from fal_core.environments import Channel
from fal_core.workers import Arenas, CrashOutput
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
        if shares_memory and Arenas.can_be_made():
            self.arenas, shared = Arenas.make()
            self._page = shared[2]
            self.settings |= Arenas.settings(wiring.add(shared))
        self.crash_output = CrashOutput()
        self.settings["pipes"] = wiring.add(self.crash_output.given)

    def take_stream(self) -> int:
        """Return the descriptor of the stream to the worker, which the caller owns from now on."""
        return self._ours.detach()

    def close_given(self) -> None:
        """Close what only the worker needs, which has been started, or cannot be."""
        self._theirs.close()
        self.wiring.close_given()
        if self._page >= 0:
            # It stays mapped; only the descriptors of the arenas, which grow, are needed.
            os.close(self._page)
        if self.crash_output is not None:
            self.crash_output.close_given()

    def close(self) -> None:
        """Close what is open at this end."""
        self._ours.close()
        self.wiring.close()
        if self.arenas is not None:
            self.arenas.close()
        if self.crash_output is not None:
            self.crash_output.close()
