"""Hosts that break the laws of lost workers."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import attrs

from fal_core.calls import Call
from fal_core.errors import WorkerLost
from fal_core.events import Event, Exited, Item, Outcome, Sealed, Sink, Started
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers import ARGUMENTS, Worker
from fal_core_worker.opening.seals import PLAIN_PREFIX
from mutants.conditions import is_crash
from mutants.wrappers import Broken, Passing


class SwallowsCrashes(Broken):
    """Gives None for a call whose worker was lost."""

    def take(self, event: Event, passing: Passing) -> None:
        if is_crash(event) and not passing.call.batch:
            passing.send_on(Outcome(Sealed(PLAIN_PREFIX + b"N."), False))
            event = Exited()
        passing.send_on(event)


class NoticesNoLoss(Broken):
    """Tells nothing more of a call whose worker was lost."""

    def take(self, event: Event, passing: Passing) -> None:
        if not is_crash(event):
            passing.send_on(event)


@attrs.define(eq=False, slots=False)
class RunsLostCallsAgain(Broken):
    """Gives a call whose worker was lost another chance, unasked."""

    again: set[str] = attrs.field(factory=set)

    def take(self, event: Event, passing: Passing) -> None:
        call = passing.call
        if is_crash(event) and call.id not in self.again and not (call.batch or call.stream):
            self.again.add(call.id)
            passing.inner = self.inner.launch(call, passing.take)
            return
        passing.send_on(event)


class ForgetsWhatWasStarted(Broken):
    """Says of a batch that no item but the first was started."""

    def take(self, event: Event, passing: Passing) -> None:
        if isinstance(event, Started) and event.count > 1:
            event = Started(1)
        if isinstance(event, Item) and passing.call.batch and event.count > 1:
            passing.held.append(event)
            return
        if isinstance(event, Outcome):
            for item in passing.held:
                passing.send_on(item)
        passing.send_on(event)


class LeavesChildren(Host[..., Any]):
    """Starts workers without a guard."""

    name = "local"
    capabilities = Capabilities.of_workers(kinds=frozenset({"current"}), concurrency=2)

    def __init__(self) -> None:
        self.processes: list[subprocess.Popen[bytes]] = []
        self.idle: list[Worker] = []

    def launch(self, call: Call, sink: Sink) -> Execution:
        worker = self.idle.pop() if self.idle else self._start_worker()
        return worker.launch(call, sink)

    def _start_worker(self) -> Worker:
        stdin, writer = os.pipe()
        reader, stdout = os.pipe()
        process = subprocess.Popen([sys.executable, *ARGUMENTS], stdin=stdin, stdout=stdout)
        self.processes.append(process)
        os.close(stdin)
        os.close(stdout)
        return Worker(
            reader,
            writer,
            lost=lambda: _how(process),
            kill=process.kill,
            idle=self.idle.append,
            settings={"kept": True},
        )

    def close(self) -> None:
        # Nobody else waits for a worker that ended well, and a Popen that is dropped
        # before that warns in whichever test runs then.
        for process in self.processes:
            process.kill()
            process.wait()


def _how(process: subprocess.Popen[bytes]) -> WorkerLost:
    code = process.wait()
    return WorkerLost(code) if code >= 0 else WorkerLost(signal=-code)
