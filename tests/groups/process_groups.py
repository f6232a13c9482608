"""A host whose nodes are processes of this machine."""

from __future__ import annotations

import subprocess
import sys
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Sink, State
from fal_core.groups import Preparation, Prepared, launch_group
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers import ARGUMENTS, Worker

#: Seconds that something which should happen may take.
PATIENCE = 60


@attrs.define(eq=False, slots=False)
class ProcessGroupHost(Host[..., Any]):
    """
    Runs each node of a call in a worker of its own.

    Attributes:
        processes: Those that it has started.
    """

    name: ClassVar[str] = "process-group"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=frozenset({"current"}), inherits=True, concurrency=2, nodes=4
    )

    processes: list[subprocess.Popen[bytes]] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.nodes > 1 and call.node is None:
            return launch_group(call, sink, self.prepare)
        return self.start().launch(call, sink)

    def prepare(self, node: Preparation) -> Prepared:
        """Start the worker of a node, and wait until it is there."""
        node.call.environment.build(node.report, node.cancelled)
        node.report(State("starting"))
        worker = self.start()
        worker.wait_until_up(node.cancelled)
        address = f"127.0.0.{node.rank + 1}"
        return Prepared(address=address, launch=worker.launch, release=worker.stop)

    def start(self) -> Worker:
        """Start a worker for one call."""
        process = subprocess.Popen(
            [sys.executable, *ARGUMENTS],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.processes.append(process)
        return Worker.of(process, idle=Worker.stop)

    def close(self) -> None:
        for process in self.processes:
            process.terminate()
            process.wait(PATIENCE)
