"""Hosts that break the laws of forks."""

from __future__ import annotations

import mmap
from collections.abc import Callable
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.events import Event, Outcome, Sealed
from fal_core.sealing.functions import seal_function
from fal_core_worker.opening import seals
from fal_core_worker.opening.functions import open_function
from mutants.wrappers import Broken, Passing


@attrs.define(eq=False, slots=False)
class SharesMemoryOfResults(Broken):
    """Puts results into shared memory, which it uses again for later ones."""

    memory: dict[int, mmap.mmap] = attrs.field(factory=dict)

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Outcome) and event.sealed.buffers:
            data, buffers = event.sealed
            event = Outcome(Sealed(data, tuple(map(self.lend, buffers))), event.raised)
        passing.send_on(event)

    def lend(self, buffer: Any) -> memoryview:
        size = memoryview(buffer).nbytes
        if size not in self.memory:
            self.memory[size] = mmap.mmap(-1, size)
        self.memory[size][:] = buffer
        return memoryview(self.memory[size])


class SharesMemoryOfArguments(Broken):
    """Puts arguments into shared memory, which it uses again for later ones."""

    def change(self, call: Call) -> Call:
        # Opened here, so that the classes of the arguments travel with it.
        function = open_function(seals.Sealed(*call.function.native), None)
        sealed = seal_function(_lends(function), portable=False).sealed
        return attrs.evolve(call, function=sealed)


def _lends(function: Callable[..., Any]) -> Callable[..., Any]:
    def run(block: Any, *rest: Any) -> Any:
        import mmap
        import sys

        memory = sys.__dict__.setdefault(
            "lent by a broken host", mmap.mmap(-1, len(block.data))
        )
        memory[:] = block.data
        return function(type(block)(memoryview(memory)), *rest)

    return run
