"""
The watcher of a worker that runs one call at a time.

It reads the stream once a call has run for some milliseconds, so that the call can be
cancelled, and its output is sent while it runs.
"""

from __future__ import annotations

import os
import select
import threading
import time

from fal_core_worker.output.standard_streams import high_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from fal_core_worker.output.capture import Output
    from fal_core_worker.stream.streams import FrameStream

    class Watched(Protocol):
        """What is watched: a :class:`~fal_core_worker.running.serial.SerialExecutor`."""

        stream: FrameStream
        output: Output
        busy: bool
        turn: int

        def read_beside(self, turn: int) -> bool: ...
        def interrupt_again(self) -> None: ...
        def return_rest(self, index: int) -> int: ...


#: Seconds after which the watcher looks at a running call.
_TICK = 0.005
#: Ticks without a call after which the watcher rests until the next call.
_RESTING = 200


class Watcher:
    """
    A thread that watches the calls of *executor*, and rests while there are none.

    Attributes:
        resting: Whether the next call has to :meth:`wake` it.
    """

    __slots__ = ("_executor", "_output", "_wake", "resting")

    def __init__(self, executor: Watched) -> None:
        self.resting = False
        self._executor = executor
        self._output = executor.output
        self._wake = high_pipe()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="fal-core watcher", daemon=True).start()

    def wake(self) -> None:
        """End the rest: a call runs."""
        self.resting = False
        os.write(self._wake[1], b"\0")

    def _watch(self) -> None:
        executor = self._executor
        seen = idle = 0
        while True:
            time.sleep(_TICK)
            if not executor.busy:
                idle += 1
                if self._output.is_waiting:
                    # A thread that the function has started printed after the call.
                    self._output.flush()
                if idle > _RESTING:
                    self._rest()
                    idle = 0
                continue
            idle = 0
            if executor.turn == seen:
                self._take_over(seen)
            seen = executor.turn

    def _rest(self) -> None:
        """Wait for a call, and send what is printed in the meantime."""
        while True:
            # Set each time: a call that has begun and ended since has reset it.
            self.resting = True
            if self._executor.busy:
                break
            poll = select.poll()
            for descriptor in (self._wake[0], self._output.rest(), *self._output.descriptors):
                poll.register(descriptor, select.POLLIN)
            ready = poll.poll(100 if self._output.is_waiting else None)
            if any(descriptor == self._wake[0] for descriptor, _ in ready):
                os.read(self._wake[0], 4096)
            self._output.flush()
        self.resting = False

    def _take_over(self, turn: int) -> None:
        """Read the stream and the output until the call of *turn* has ended."""
        executor = self._executor
        reader = executor.stream.reader
        poll = select.poll()
        for descriptor in (reader, *self._output.descriptors):
            poll.register(descriptor, select.POLLIN)
        index = -1
        while executor.busy and executor.turn == turn:
            ready = poll.poll(10 if index < 0 else 50)
            if not (executor.busy and executor.turn == turn):
                return
            written = any(descriptor == reader for descriptor, _ in ready)
            if written and not executor.read_beside(turn):
                time.sleep(_TICK)
            self._output.flush()
            executor.interrupt_again()
            index = executor.return_rest(index)
