"""The guard of a worker: it ends as the worker has, once nothing of that is left."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from pipe_hosts import PATIENCE, PipeHost

from fal_core import function
from fal_core.errors import WorkerLost
from fal_testing.harness.processes import is_alive, wait_until


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """The file in which a function lists its own process and those that it has started."""
    return tmp_path / "told"


def leave_a_child(told: Path, how: str) -> None:
    """Start a process of its own session that belongs to no one; go on as *how* says."""
    import ctypes

    reader, writer = os.pipe()
    if not os.fork():
        os.setsid()
        if os.fork():
            os._exit(0)
        os.write(writer, str(os.getpid()).encode())
        # Ends by being killed.
        time.sleep(600)
        os._exit(0)
    new = told.with_suffix(".new")
    new.write_text(f"{os.read(reader, 20).decode()} {os.getpid()}")
    if how == "hold":
        # From before it is told no other thread runs, the one that reads the stream included.
        sys.setswitchinterval(600)
        native = ctypes.PyDLL(None)
        native.rename(bytes(new), bytes(told))
        # Ends by being killed: it never gives the GIL back.
        native.sleep(600)
    new.rename(told)
    exec(how)


def read_when_there(told: Path) -> list[int]:
    """Return the processes that a function has listed, once the file is there."""
    assert wait_until(told.exists, PATIENCE)
    return [int(word) for word in told.read_text().split()]


def are_gone(*processes: int) -> bool:
    """Tell whether *processes* have ended, or do while it waits."""
    return wait_until(lambda: not any(map(is_alive, processes)), PATIENCE)


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os._exit(0)", 0),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", 128 + signal.SIGKILL),
        ("os.kill(os.getpid(), 11)", 128 + signal.SIGSEGV),
    ],
)
def test_it_ends_as_its_worker_and_leaves_nothing(
    pipe_host: PipeHost, told: Path, how: str, code: int
) -> None:
    """The guard ends as the worker did, after all orphans of the worker are gone."""
    with pytest.raises(WorkerLost) as caught:
        function("current", host=pipe_host)(leave_a_child)(told, how)
    assert caught.value.code == code
    orphan, _ = read_when_there(told)
    assert not is_alive(orphan)


@pytest.mark.faults
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_terminating_it_ends_all(
    pipe_host: PipeHost, told: Path, number: signal.Signals
) -> None:
    """A signal that asks the guard to end ends the worker, and what that has started."""
    # A guard keeps ignoring what it was started to ignore, as nohup has it.
    before = signal.signal(number, signal.SIG_DFL)
    try:
        running = function("current", host=pipe_host)(leave_a_child).submit(told, "hold")
        processes = read_when_there(told)
    finally:
        signal.signal(number, before)
    assert pipe_host.process is not None
    pipe_host.process.send_signal(number)
    with pytest.raises(WorkerLost) as caught:
        running.result(PATIENCE)
    assert caught.value.code == 128 + number
    assert are_gone(*processes)


@pytest.mark.faults
def test_worker_dies_with_a_killed_guard(pipe_host: PipeHost, told: Path) -> None:
    """A guard that is killed takes its worker with it."""
    running = function("current", host=pipe_host)(leave_a_child).submit(told, "hold")
    orphan, worker = read_when_there(told)
    assert pipe_host.process is not None
    pipe_host.process.kill()
    with pytest.raises(WorkerLost):
        running.result(PATIENCE)
    assert are_gone(worker)
    os.kill(orphan, signal.SIGKILL)


@pytest.mark.faults
def test_end_of_the_stream_ends_a_worker_that_cannot_see_it(
    pipe_host: PipeHost, told: Path
) -> None:
    """Code that no Python thread runs beside ends with the stream, as all does it started."""
    running = function("current", host=pipe_host)(leave_a_child).submit(told, "hold")
    processes = read_when_there(told)
    assert pipe_host.worker is not None
    pipe_host.worker.close()
    with pytest.raises(WorkerLost) as caught:
        running.result(PATIENCE)
    assert caught.value.code == 128 + signal.SIGKILL
    assert are_gone(*processes)


def test_worker_may_end_of_itself(pipe_host: PipeHost, told: Path) -> None:
    """A worker that sees its stream end runs its exit handlers; the guard waits for that."""

    @function("current", host=pipe_host)
    def prepare() -> int:
        import atexit

        atexit.register(told.write_text, "ended")
        return os.getpid()

    worker = prepare()
    assert pipe_host.worker is not None
    assert pipe_host.process is not None
    pipe_host.worker.close()
    assert pipe_host.process.wait(PATIENCE) == 0
    assert told.read_text() == "ended"
    assert not is_alive(worker)
