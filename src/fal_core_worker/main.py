"""
The worker: opens functions, runs calls, and tells what happens.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]  # typeshed lacks it
import fcntl
import functools
import marshal
import mmap
import os
import sys
import threading
import time

from fal_core_worker import frames, nested, origins
from fal_core_worker.arenas import InboundArena, OutboundArena
from fal_core_worker.handovers import Main
from fal_core_worker.making import SealersFinder
from fal_core_worker.outputs import Output
from fal_core_worker.runners import Runner
from fal_core_worker.serial import SerialRunner

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NoReturn

_FIRST_DESCRIPTOR = 64


def main(path: str, configuration: bytes) -> None:
    """
    Run this process as a worker until its stream ends.
    """
    settings: dict[str, Any] = marshal.loads(configuration)
    if not settings.get("kept"):
        from fal_core_worker.guards import become_guarded

        become_guarded()
    stream = _take_stream(settings)
    stream.write(frames.MAGIC)
    output = Output(
        lambda block: stream.send(frames.LOG, data=block), settings.get("pipes", ())
    )
    output.install()
    _send_before_exit(output)
    origins.install()
    sys.modules["__main__"] = Main("__main__")
    sys.meta_path.insert(0, SealersFinder(path))
    sys.path.remove(path)
    sys.path.append(path)
    hello = {
        "pid": os.getpid(),
        "python": tuple(sys.version_info[:3]),
        "executable": sys.executable,
        # On one machine all processes have one such clock.
        "at": time.monotonic(),
    }
    stream.send(frames.HELLO, data=marshal.dumps(hello, 2))
    if settings.get("multiplex", 1) > 1:
        from fal_core_worker.multiplexing import ParallelRunner

        runner: Runner = ParallelRunner(stream, output)
    else:
        runner = SerialRunner(stream, output)
    page = settings.get("page")
    if page is not None:
        runner.page = mmap.mmap(page, mmap.PAGESIZE)
        os.close(page)
    nested.runner = runner
    forks = _Forks(runner)
    os.register_at_fork(
        before=forks.hold, after_in_parent=forks.let_go, after_in_child=forks.leave
    )
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.interrupted)
    try:
        code = runner.serve()
    except Exception:
        # What of ours has failed is told to whoever waits for the worker.
        import traceback

        output.write("ERROR", traceback.format_exc())
        output.flush()
        code = 1
    _end(code, output)


def _take_stream(settings: dict[str, Any]) -> frames.Stream:
    """
    Move the stream to descriptors that no program expects anything at.
    """
    reader = fcntl.fcntl(0, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    writer = fcntl.fcntl(1, fcntl.F_DUPFD_CLOEXEC, _FIRST_DESCRIPTOR)
    stream = frames.Stream(reader, writer)
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
    What becomes of the worker in a forked child, which is not the worker.

    Python forgets signals that reach a child while it begins, and pools of processes
    end theirs by one. So they are held back until the child handles them as a
    program does.
    """

    def __init__(self, runner: Runner) -> None:
        self._runner = runner
        self._masks = threading.local()

    def hold(self) -> None:
        self._masks.before = signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTERM,))

    def let_go(self) -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, self._masks.before)

    def leave(self) -> None:
        runner = self._runner
        nested.runner = None
        runner.forked = True
        # What the function has set itself stays.
        plain = ((signal.SIGINT, signal.default_int_handler), (signal.SIGTERM, signal.SIG_DFL))
        for number, handler in plain:
            if signal.getsignal(number) == runner.interrupted:
                signal.signal(number, handler)
        runner.output.leave()
        runner.stream.close()
        self.let_go()


def _send_before_exit(output: Output) -> None:
    """
    Have ``os._exit`` send first what was printed; it does nothing else for a program.
    """
    worker, leave = os.getpid(), os._exit

    @functools.wraps(leave)
    def leave_with_output(status: int) -> NoReturn:
        if os.getpid() == worker and not output.is_writing:
            try:
                output.flush_call()
            except BaseException:
                # The stream has ended before.
                pass
        leave(status)

    os._exit = leave_with_output


def _end(code: int, output: Output) -> None:
    """
    End this process as a program ends, but never wait for its threads.
    """
    import atexit

    try:
        atexit._run_exitfuncs()
        output.flush_call()
    except BaseException:
        code = code or 1
    os._exit(code)
