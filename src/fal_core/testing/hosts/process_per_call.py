"""
A host for the tests of environments: each call runs in a process of its own.
"""

from __future__ import annotations

import os
import subprocess
import threading
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.errors import WorkerLost
from fal_core.events import Sink
from fal_core.hosts import Capabilities, Execution, Host
from fal_core.workers.worker import ARGUMENTS, Worker


@attrs.define(eq=False, slots=False)
class ProcessHost(Host[..., Any]):
    """
    Builds the environment of a call and starts its interpreter, once for each call.
    """

    name: ClassVar[str] = "process"
    capabilities: ClassVar[Capabilities] = Capabilities.of_workers(
        kinds=None, concurrency=os.cpu_count() or 1
    )

    def launch(self, call: Call, sink: Sink) -> Execution:
        interpreter = call.environment.build(sink, threading.Event())
        command = interpreter.command(ARGUMENTS)
        process = subprocess.Popen(
            command.argv,
            env={**os.environ, **command.variables},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None

        def lost() -> WorkerLost:
            code = process.wait()
            return WorkerLost(code, code - 128 if code > 128 else None)

        worker = Worker(
            # The worker owns its descriptors, and the process keeps none of them.
            os.dup(process.stdout.fileno()),
            os.dup(process.stdin.fileno()),
            lost=lost,
            kill=process.terminate,
            idle=Worker.stop,
        )
        process.stdin.close()
        process.stdout.close()
        threading.Thread(target=_wait, args=(process, worker), daemon=True).start()
        return worker.launch(call, sink)


def _wait(process: subprocess.Popen[bytes], worker: Worker) -> None:
    process.wait()
    # A worker with a call has lines left to be read; it closes once they are.
    if not worker.executions:
        worker.close()
