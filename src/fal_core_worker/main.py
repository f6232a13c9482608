"""The worker process, from its start to its exit."""

from __future__ import annotations

# ``signal`` is slow to import.
import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import faulthandler
import fcntl
import functools
import marshal
import mmap
import os
import sys
import threading
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder

from fal_core_worker import current
from fal_core_worker.opening import origins
from fal_core_worker.opening.handovers import Main
from fal_core_worker.output import records
from fal_core_worker.output.capture import Output
from fal_core_worker.running.executors import Executor
from fal_core_worker.running.serial import SerialExecutor
from fal_core_worker.stream import frames, payloads
from fal_core_worker.stream.arenas import InboundArena, OutboundArena
from fal_core_worker.stream.streams import FrameStream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_FIRST_DESCRIPTOR = 64


def main(path: str, configuration: bytes) -> None:
    """Run this process as a worker until its stream ends."""
    settings: dict[str, Any] = marshal.loads(configuration)
    if not settings.get("kept"):
        from fal_core_worker.running.guards import become_guarded

        become_guarded(settings.get("stream", 0))
    stream = _take_stream(settings)
    stream.write(frames.MAGIC)
    output = Output(lambda block: _send_output(stream, block), settings.get("pipes", ()))
    output.install()
    # Where a crash was is written below Python, and read by the host.
    faulthandler.enable(2, all_threads=False)
    _send_before_exit(output)
    origins.install()
    records.install(settings.get("logging"))
    sys.modules["__main__"] = Main("__main__")
    sys.meta_path.insert(0, _CloudpickleFinder(path))
    sys.path.remove(path)
    sys.path.append(path)
    version: Any = sys.version_info[:3]
    hello = payloads.pack_hello(os.getpid(), version, sys.executable, time.monotonic())
    stream.send(frames.HELLO, data=hello)
    if settings.get("multiplex", 1) > 1:
        from fal_core_worker.running.parallel import ParallelExecutor

        executor: Executor = ParallelExecutor(stream, output)
    else:
        executor = SerialExecutor(stream, output)
    page = settings.get("page")
    if page is not None:
        executor.page = mmap.mmap(page, mmap.PAGESIZE)
        os.close(page)
    # In a network of its own a service listens on all interfaces.
    executor.address = settings.get("address")
    current.runtime = executor
    forks = _Forks(executor)
    os.register_at_fork(
        before=forks.hold, after_in_parent=forks.let_go, after_in_child=forks.leave
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, executor.interrupted)
    try:
        code = executor.serve()
    except Exception:
        # A failure of the worker itself is logged for the process that launched it.
        import traceback

        output.write("ERROR", traceback.format_exc())
        output.flush()
        code = 1
    _end(code, output)


def _send_output(stream: FrameStream, block: Any) -> None:
    for payload in payloads.pack_lines(block):
        stream.send(frames.LOG, data=payload)


class _CloudpickleFinder:
    """
    Finds the cloudpickle that came with the worker, even if the environment has another.

    Arguments:
        path: The folder of the worker's modules.
    """

    def __init__(self, path: str) -> None:
        self._path = [path]

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: Any = None
    ) -> ModuleSpec | None:
        return PathFinder.find_spec(name, self._path) if name == "cloudpickle" else None


def _take_stream(settings: dict[str, Any]) -> FrameStream:
    """Return the stream, moved to descriptors whose numbers no program uses."""
    # Standard input and output, or one descriptor for both directions.
    place = settings.get("stream", 0)
    reader = fcntl.fcntl(place, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    writer = fcntl.fcntl(place or 1, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    if place:
        os.close(place)
    stream = FrameStream(reader, writer)
    if settings.get("relayed"):
        stream.soon = 0.0
    arenas = settings.get("arenas")
    if arenas is not None:
        inbound, outbound, capacity = arenas
        stream.inbound = InboundArena(inbound)
        stream.outbound = OutboundArena(outbound, capacity)
        os.set_inheritable(inbound, False)
        os.set_inheritable(outbound, False)
    return stream


class _Forks:
    """
    Turns a forked child of the worker into a plain Python process.

    Python drops signals that reach a child as it starts, and process pools end their
    children by SIGTERM. So SIGTERM is blocked until the child handles it as any program
    does.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._masks = threading.local()

    def hold(self) -> None:
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

    def let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def leave(self) -> None:
        executor = self._executor
        node: Any
        try:
            node = executor.find_node()
        except RuntimeError as error:
            # It is for the child to ask, and to be told so.
            node = error
        if node is not None:
            from fal_core_worker import nodes

            nodes.inherited = node
        current.runtime = None
        executor.forked = True
        # A handler that the function has set stays.
        plain = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))
        for number, handler in plain:
            if signal.getsignal(number) == executor.interrupted:
                signal.signal(number, handler)
        executor.output.leave()
        executor.stream.close()
        self.let_go()


def _send_before_exit(output: Output) -> None:
    """Make ``os._exit`` send first what was printed."""
    worker, leave = os.getpid(), os._exit

    @functools.wraps(leave)
    def leave_with_output(status: int) -> NoReturn:
        if os.getpid() == worker and not output.is_writing:
            try:
                output.flush_call(last=True)
            except BaseException:
                # The stream has ended already.
                pass
        leave(status)

    os._exit = leave_with_output


def _end(code: int, output: Output) -> None:
    """Exit as a program does, but without waiting for its threads."""
    import atexit

    try:
        # What is public waits for threads.
        atexit._run_exitfuncs()
        output.flush_call(last=True)
    except BaseException:
        code = code or 1
    os._exit(code)
