"""A host that starts one worker by its command alone."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers import ARGUMENTS, Worker

#: Seconds that processes have to end.
PATIENCE = 60


class Owner:
    """Remembers what its worker tells."""

    def __init__(self) -> None:
        self.away: list[int] = []
        self.ready: list[Worker] = []

    def worker_ready(self, worker: Worker) -> None:
        self.ready.append(worker)

    def worker_idle(self, worker: Worker) -> None:
        pass

    def worker_ended(self, worker: Worker, reason: HostError) -> HostError:
        return reason

    def call_away(self, change: int) -> None:
        self.away.append(change)


@attrs.define(eq=False, slots=False)
class PipeHost(Host[..., Any]):
    """
    Runs its calls in one worker, at the end of two pipes.

    Attributes:
        arguments: What the Python of the worker is started with.

        callbacks: What the worker is given beside its descriptors.

        owner: Whom it is started for.
    """

    name: ClassVar[str] = "pipe"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(kinds=None)

    arguments: tuple[str, ...] = ARGUMENTS
    callbacks: dict[str, Any] = attrs.field(factory=dict)
    owner: Owner | None = None
    worker: Worker | None = None
    process: subprocess.Popen[bytes] | None = None
    _starting: threading.Lock = attrs.field(factory=threading.Lock, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        return self.start().launch(call, sink)

    def start(self) -> Worker:
        """Start the worker, if it has not been started, and return it."""
        # A launch and a test may both do so.
        with self._starting:
            if self.worker is None:
                self.worker = self._start()
            return self.worker

    def _start(self) -> Worker:
        stdin, writer = os.pipe()
        reader, stdout = os.pipe()
        process = subprocess.Popen(
            [sys.executable, *self.arguments], stdin=stdin, stdout=stdout
        )
        os.close(stdin)
        os.close(stdout)
        self.process = process

        def lost() -> WorkerLost:
            return WorkerLost(process.wait(PATIENCE))

        callbacks = {"lost": lost, "kill": process.terminate, **self.callbacks}
        worker = Worker(reader, writer, **callbacks)
        if self.owner is not None:
            worker.serve_for(self.owner)
        return worker

    def end(self) -> None:
        """End the worker, and close what is open for it."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
        if self.worker is not None:
            self.worker.close()
