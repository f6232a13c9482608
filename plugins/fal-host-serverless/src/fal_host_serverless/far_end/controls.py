"""
How a call in an agent is ended, and what its code finds of the host it runs on.

Like :mod:`fal_host_serverless.far_end.sent_calls` it travels as source, and needs only
the standard library and the worker.
"""

from __future__ import annotations

import sys
import threading
import types
from typing import Any


class CallControl:
    """Ends a call, and is the runtime of the agent's process for as long as the call runs."""

    def __init__(self, parts: dict[str, Any]) -> None:
        self.serves: bool = parts["serve"]
        #: Where services listen: an interface, or "unix:" and a directory of sockets.
        self.address: str | None = parts["address"]
        self.output: Any = self
        self.ended: bool = False
        self.drain: Any = None
        self.task: Any = None
        self.thread: int | None = None
        self.mark: Any = lambda flag: None

    def end(self) -> None:
        """Drain a service, cancel a coroutine, or interrupt the thread of a function."""
        self.ended = True
        if self.serves:
            if self.drain is not None:
                self.drain()
        elif self.task is not None:
            loop, task = self.task
            loop.call_soon_threadsafe(task.cancel)
        elif self.thread is not None:
            import ctypes

            raised = ctypes.py_object(KeyboardInterrupt)
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self.thread), raised)

    def owner(self) -> str:
        """Return the owner of the line that this code prints: a request, or the call."""
        services = sys.modules.get("fal_core_worker.serving.services")
        request = services.request_id.get() if services is not None else ""
        return f"request {request}" if request else ""

    def write(self, level: str, line: str, logger: str | None = None) -> None:
        stream = sys.stdout if level in ("DEBUG", "INFO", "STDOUT") else sys.stderr
        stream.write(f"{line}\n")

    def call_home(self, number: int, args: Any, kwargs: Any) -> Any:
        raise RuntimeError(
            "A function on a serverless host cannot call home: it has no connection to the "
            "process that launched it. Call functions with the same options, which run in "
            "place, or call the other function where this one was called."
        )

    def find_node(self) -> None:
        """Do nothing: every call of the service runs on one node."""

    def announce(self, urls: dict[str, str]) -> None:
        """Do nothing: the control plane finds a service by its port."""

    def run_service(self, service: Any, loop: Any, drain: Any) -> None:
        """Run a service in *loop* on the thread of the call."""
        import asyncio

        asyncio.set_event_loop(loop)
        self.drain = lambda: loop.call_soon_threadsafe(drain)
        if self.ended:
            loop.call_soon(drain)
        try:
            loop.run_until_complete(service)
        finally:
            self.drain = None
            asyncio.set_event_loop(None)
            loop.close()

    def finish(self, value: Any) -> Any:
        """Return the result of the function that returned *value*: run a coroutine."""
        import asyncio

        if isinstance(value, types.CoroutineType):
            from fal_core_worker.running.outcomes import contain, release

            loop = asyncio.new_event_loop()
            task = loop.create_task(contain(value))
            self.task = loop, task
            if self.ended:
                task.cancel()
            try:
                return release(loop.run_until_complete(task))
            except asyncio.CancelledError:
                if self.ended:
                    raise KeyboardInterrupt from None
                raise
            finally:
                # Where the task was cancelled before it began.
                value.close()
                self.task = None
                loop.run_until_complete(loop.shutdown_asyncgens())
                loop.close()
        if isinstance(value, (types.GeneratorType, types.AsyncGeneratorType)):
            raise TypeError(
                "A serverless host returns a result once the call has ended, so a function "
                "that yields cannot run there. Return a list, or serve the function."
            )
        return value


async def run_controlled(control: CallControl, work: Any) -> Any:
    """Run *work* on a thread, and end it when the agent gets SIGTERM."""
    import asyncio
    import signal

    loop = asyncio.get_running_loop()
    done = loop.create_future()
    before = signal.signal(signal.SIGTERM, lambda *_: control.end())

    def settle(value: Any, error: BaseException | None) -> None:
        if done.cancelled():
            return
        if error is None:
            done.set_result(value)
        else:
            done.set_exception(error)

    def run() -> None:
        value, error = None, None
        try:
            value = work()
        except BaseException as raised:
            error = raised
        try:
            loop.call_soon_threadsafe(settle, value, error)
        except RuntimeError:
            pass  # The loop is closed: the agent has ended, and nobody waits.

    threading.Thread(target=run, name="call", daemon=True).start()
    try:
        return await done
    finally:
        signal.signal(signal.SIGTERM, before)
