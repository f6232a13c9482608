"""
The watcher of a runner of one call at a time.

It takes the stream over once a call has run for some milliseconds, so that the call can
be cancelled, and its output is seen while it runs.
"""

from __future__ import annotations

import os
import select
import threading
import time

from fal_core_worker.pipes import high_pipe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fal_core_worker.serial import SerialRunner

#: Seconds after which the watcher looks at a running call.
_TICK = 0.005
#: Ticks without a call after which the watcher rests until the next one.
_RESTING = 200


class Watcher:
    """
    A thread that looks after the calls of *runner*, and rests while there are none.

    Attributes:
        resting: Whether the next call is to :meth:`wake` it.
    """

    __slots__ = ("_output", "_runner", "_wake", "resting")

    def __init__(self, runner: SerialRunner) -> None:
        self.resting = False
        self._runner = runner
        self._output = runner.output
        self._wake = high_pipe()

    def start(self) -> None:
        threading.Thread(target=self._watch, name="fal-core watcher", daemon=True).start()

    def wake(self) -> None:
        """
        Have it look again: a call runs.
        """
        self.resting = False
        os.write(self._wake[1], b"\0")

    def _watch(self) -> None:
        runner = self._runner
        seen = idle = 0
        while True:
            time.sleep(_TICK)
            if not runner.busy:
                idle += 1
                if self._output.is_waiting:
                    # A thread of the function has printed after the call.
                    self._output.flush()
                if idle > _RESTING:
                    self._rest()
                    idle = 0
                continue
            idle = 0
            if runner.turn == seen:
                self._take_over(seen)
            seen = runner.turn

    def _rest(self) -> None:
        """
        Wait for a call, and send what is printed meanwhile.
        """
        while True:
            # Each time anew: a call that has ended since has ended the rest as well.
            self.resting = True
            if self._runner.busy:
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
        """
        Read the stream and the output until the call of *turn* has ended.
        """
        runner = self._runner
        reader = runner.stream.reader
        poll = select.poll()
        for descriptor in (reader, *self._output.descriptors):
            poll.register(descriptor, select.POLLIN)
        index = -1
        while runner.busy and runner.turn == turn:
            ready = poll.poll(10 if index < 0 else 50)
            if not (runner.busy and runner.turn == turn):
                return
            written = any(descriptor == reader for descriptor, _ in ready)
            if written and not runner.read_beside(turn):
                time.sleep(_TICK)
            self._output.flush()
            runner.ask_again()
            index = runner.return_rest(index)
