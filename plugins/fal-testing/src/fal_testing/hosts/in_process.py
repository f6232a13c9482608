"""
The reference host: calls run on threads of this process.

It is the smallest host that keeps the contract. It takes the same calls as any other,
and opens them with the worker's own code, so that tests need neither a process nor
mocks.
"""

from __future__ import annotations

import threading
from typing import Any, ClassVar

import attrs

from fal_core.calls import Call
from fal_core.events import Sink
from fal_core.groups import Preparation, Prepared, launch_group
from fal_core.hosts import Capabilities, Execution, Host
from fal_core_worker.running.slots import Functions
from fal_testing.hosts.in_process_calls import InProcessExecution


@attrs.define(eq=False, slots=False)
class InProcessHost(Host[..., Any]):
    """
    Runs calls on threads of this process.

    A thread cannot be ended: a cancelled call is abandoned, not interrupted.
    """

    name: ClassVar[str] = "in-process"
    capabilities: ClassVar[Capabilities] = Capabilities(
        same_python=True,
        kinds=frozenset({"current"}),
        # The serving plugin acts on the options of requests.
        options=frozenset({"metrics_port", "request_timeout", "setup_function"}),
        concurrency=4,
        nodes=4,
        stream=True,
        batch=True,
        home_calls=True,
        serve=True,
    )

    def __attrs_post_init__(self) -> None:
        self.functions: Functions = Functions()
        self.slots: dict[tuple[str, ...], int] = {}
        self.lock: threading.RLock = threading.RLock()

    def launch(self, call: Call, sink: Sink) -> Execution:
        if call.nodes > 1 and call.node is None:
            return launch_group(call, sink, self.prepare)
        execution = InProcessExecution(self, call, sink)
        threading.Thread(target=execution.run, name=f"call {call.id}", daemon=True).start()
        return execution

    def prepare(self, node: Preparation) -> Prepared:
        """Return a node of a group: they are threads, too."""
        return Prepared(address="127.0.0.1", launch=self.launch)

    def find_function(self, call: Call) -> tuple[Any, Any]:
        """Return what to call, after the setup, and the function itself."""
        import marshal

        sealed = [part for part in (call.function, call.setup) if part is not None]
        with self.lock:
            key = tuple(part.digest for part in sealed)
            if key not in self.slots:
                packed = [
                    (part.digest, part.native.data, part.portable and part.portable.data, "")
                    for part in sealed
                ]
                setup = packed[1] if call.setup is not None else None
                self.slots[key] = len(self.slots)
                self.functions.put(self.slots[key], marshal.dumps((*packed[0], setup), 2))
            return self.functions.get(self.slots[key])
