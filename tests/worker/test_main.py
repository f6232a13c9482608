"""The worker process, from its start to its exit."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import pytest
from pipe_hosts import PATIENCE, Owner, PipeHost

from fal_core import function
from fal_core.events import Log
from fal_core_worker.stream import frames
from fal_testing.harness.processes import wait_until


def test_a_worker_describes_itself(pipe_host: PipeHost) -> None:
    """The worker says which process and which Python it is, once it can take calls."""
    owner = pipe_host.owner = Owner()
    pid = function("current", host=pipe_host)(os.getpid)()
    assert pipe_host.worker is not None
    hello = pipe_host.worker.hello
    assert hello is not None
    assert hello["pid"] == pid
    assert hello["python"] == tuple(sys.version_info[:3])
    assert hello["executable"] == sys.executable
    assert hello["at"] > 0
    assert owner.ready == [pipe_host.worker]


def test_functions_find_nothing_of_the_worker(pipe_host: PipeHost) -> None:
    """The stream has descriptors that no program uses, and the worker's modules come last."""

    @function("current", host=pipe_host)
    def look() -> Any:
        import __main__

        # Descriptors that the function opens have the usual numbers.
        with open(os.devnull) as file:
            opened = file.fileno()
        return opened, sys.path[-1], type(__main__).__name__, sys.argv

    opened, last, main, argv = look()
    assert opened < 64
    assert "fal-core" in last
    assert main == "Main"
    assert argv[0] == "-c"


def test_the_worker_brings_its_own_cloudpickle(pipe_host: PipeHost, tmp_path: Path) -> None:
    """Another cloudpickle of the environment is not the one that opens functions."""
    (tmp_path / "cloudpickle.py").write_text("raise SystemError('the wrong one')\n")

    @function("current", host=pipe_host)
    def look(folder: str) -> str:
        sys.path.insert(0, folder)
        import cloudpickle

        return str(cloudpickle.__file__)

    found = look(str(tmp_path))
    assert Path(found).parent.parent.name != tmp_path.name
    assert (Path(found).parent.parent / "fal_core_worker" / "main.py").exists()


def test_a_forked_child_is_a_plain_process(pipe_host: PipeHost) -> None:
    """A child handles signals as any program does, and has no part in the worker's stream."""

    @function("current", host=pipe_host)
    def fork() -> int:
        import signal
        import warnings

        from fal_core_worker import current

        warnings.simplefilter("ignore")
        assert current.runtime is not None
        child = os.fork()
        if not child:
            plain = (
                current.runtime is None,
                signal.getsignal(signal.SIGTERM) == signal.SIG_DFL,
                signal.getsignal(signal.SIGINT) == signal.default_int_handler,
                signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ()),
            )
            os._exit(0 if all(plain) else 1)
        status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, ())
        return status

    assert fork() == 0


def test_a_handler_of_the_function_is_kept_in_its_children(pipe_host: PipeHost) -> None:
    """What a function has set for a signal is not set back when it forks."""

    @function("current", host=pipe_host)
    def fork() -> int:
        import signal
        import warnings

        warnings.simplefilter("ignore")
        before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
        try:
            child = os.fork()
            if not child:
                os._exit(0 if signal.getsignal(signal.SIGTERM) == signal.SIG_IGN else 1)
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        finally:
            signal.signal(signal.SIGTERM, before)

    assert fork() == 0


def test_a_worker_ends_without_its_threads(pipe_host: PipeHost, tmp_path: Path) -> None:
    """
    A worker that is stopped runs exit handlers, sends what they print, and waits for no
    thread.
    """
    logs: list[Log] = []
    pipe_host.callbacks["log"] = logs.append

    @function("current", host=pipe_host)
    def prepare() -> None:
        import atexit
        import threading
        import time

        atexit.register(print, "the end")
        # It ends with the process.
        threading.Thread(target=time.sleep, args=(600,)).start()

    prepare()
    assert pipe_host.worker is not None
    assert pipe_host.process is not None
    pipe_host.worker.stop()
    assert pipe_host.process.wait(PATIENCE) == 0
    assert wait_until(lambda: [log.message for log in logs] == ["the end"], PATIENCE)


@pytest.mark.faults
def test_a_failure_of_the_worker_itself_is_logged(pipe_host: PipeHost) -> None:
    """An exception outside any call is shown by the process that launched the worker."""
    logs: list[Log] = []
    pipe_host.callbacks["log"] = logs.append
    pipe_host.owner = Owner()
    worker = pipe_host.start()
    worker._stream.send(frames.FUNCTION, data=b"no function")
    worker.follow()
    assert pipe_host.process is not None
    assert pipe_host.process.wait(PATIENCE) == 1
    assert wait_until(lambda: worker.gone, PATIENCE)
    lines = [log.message for log in logs if log.level == "ERROR"]
    assert lines[0] == "Traceback (most recent call last):"
    assert "marshal data" in " ".join(lines)
