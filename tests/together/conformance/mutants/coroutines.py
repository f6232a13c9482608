"""Hosts that break the laws of asynchronous functions."""

from __future__ import annotations

import threading
from typing import Any

from fal_core.calls import Call
from fal_core.errors import HostClosed
from fal_core.events import Sink
from fal_core.hosts import Execution
from fal_testing import InProcessHost
from fal_testing.hosts.in_process_calls import InProcessExecution
from mutants.wrappers import Broken


class NeverAwaits(InProcessHost):
    """Returns from an ``async def`` function at once."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        finish = execution.finish

        def changed(value: Any) -> Any:
            if hasattr(value, "cr_await"):
                value.close()
                return None
            return finish(value)

        execution.finish = changed  # type: ignore[method-assign]  # broken
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


class RefusesEventLoops(Broken):
    """Mistakes the threads of an event loop for the loop, which must not be blocked."""

    def launch(self, call: Call, sink: Sink) -> Execution:
        if threading.current_thread().name.startswith("asyncio"):
            raise HostClosed("local", "A call would hold up the event loop.")
        return super().launch(call, sink)


class AsyncGeneratorsAsLists(InProcessHost):
    """Runs an asynchronous generator to its end, and returns a list."""

    def launch(self, call: Call, sink: Sink) -> InProcessExecution:
        execution = InProcessExecution(self, call, sink)
        finish = execution.finish

        def changed(value: Any) -> Any:
            return _collect(value) if hasattr(value, "__anext__") else finish(value)

        execution.finish = changed  # type: ignore[method-assign]  # broken
        threading.Thread(target=execution.run, daemon=True).start()
        return execution


def _collect(items: Any) -> Any:
    import asyncio

    async def collect() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(collect())
