"""
A host whose nodes are processes of this machine.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.errors import HostError, WorkerLost
from fal_core.events import Sink, State
from fal_core.groups import Preparation, Prepared, launch_group
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.testing.harness.processes import wait_until
from fal_core.workers import ARGUMENTS, Worker

#: Seconds that a process has to start, and to end.
PATIENCE = 60


@attrs.define(eq=False, slots=False)
class ProcessGroupHost(Host[..., Any]):
    """
    Runs each node of a call in a worker of its own.

    Attributes:
        processes: Those that it has started.
    """

    name: ClassVar[str] = "process-group"
    capabilities: ClassVar[Capabilities] = Capabilities(
        kinds=frozenset({"current"}),
        options=frozenset({"setup_function"}),
        inherits=True,
        concurrency=2,
        nodes=4,
    )

    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.nodes > 1 and call.node is None:
            return launch_group(call, sink, self.prepare)
        return self.start().launch(call, sink)

    def prepare(self, node: Preparation) -> Prepared:
        """
        Start the worker of a node, and wait until it is there.
        """
        node.report(State("starting"))
        worker = self.start()
        worker.follow()
        wait_until(
            lambda: worker.hello is not None or worker.gone or node.cancelled.is_set(), PATIENCE
        )
        if worker.hello is None:
            worker.kill()
            raise worker.reason or HostError("The worker did not start.")
        return Prepared(
            address=f"127.0.0.{node.rank + 1}", launch=worker.launch, release=worker.stop
        )

    def start(self) -> Worker:
        """
        Start a worker for one call.
        """
        process = subprocess.Popen(
            [sys.executable, *ARGUMENTS], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self.processes.append(process)
        assert process.stdin is not None
        assert process.stdout is not None

        def lost() -> WorkerLost:
            code = process.wait()
            return WorkerLost(code, code - 128 if code > 128 else None)

        worker = Worker(
            os.dup(process.stdout.fileno()),
            os.dup(process.stdin.fileno()),
            lost=lost,
            kill=process.terminate,
            idle=Worker.stop,
        )
        process.stdin.close()
        process.stdout.close()
        return worker

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(PATIENCE)
