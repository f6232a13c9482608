"""
Keepers: how a worker has ended.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from fal_core import HostError, OutOfMemory, WorkerLost, function
from fal_core.testing.harness.processes import wait_until

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_worker_killed_mid_call_is_named_and_the_next_call_works():
    """
    A worker that SIGKILL ends is a host error that names the signal.
    """

    @function("current")
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        kill()

    assert caught.value.signal == signal.SIGKILL
    assert function("current")(inc)(1) == 2


def test_exit_in_the_function_is_reported_with_its_code():
    """
    ``os._exit`` in the function is a host error that names the code.
    """

    @function("current")
    def leave() -> None:
        os._exit(7)

    with pytest.raises(WorkerLost, match="code 7") as caught:
        leave()

    assert caught.value.code == 7


def test_segfault_is_reported():
    """
    A crash below Python is a host error that names SIGSEGV.
    """

    @function("current")
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    with pytest.raises(WorkerLost, match="SIGSEGV"):
        crash()


def test_a_worker_killed_for_want_of_memory_is_named(tmp_path: Path):
    """
    A worker that the system ends for the memory it uses is an ``OutOfMemory``.
    """
    group = Path("/sys/fs/cgroup/memory") / f"fal-core-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"A memory cgroup cannot be made here: {error.strerror}.")

    @function("current", keep_alive=0)
    def fill(group: str) -> None:
        with open(f"{group}/memory.limit_in_bytes", "w") as file:
            file.write(str(64 << 20))
        with open(f"{group}/cgroup.procs", "w") as file:
            file.write(str(os.getpid()))
        held = []
        while True:
            held.append(os.urandom(1 << 20))

    try:
        with pytest.raises(OutOfMemory, match="out of memory"):
            fill(str(group))
    finally:
        assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 30)
        group.rmdir()


def test_an_interpreter_that_cannot_start_is_an_error(tmp_path: Path):
    """
    A worker that does not start is a host error, not a hang.
    """
    import attrs

    from fal_core.environments import CurrentEnvironment, LocalInterpreter

    class Broken(CurrentEnvironment):
        key = "broken"

        def build(self, log, cancelled):
            return LocalInterpreter(str(tmp_path / "nothing"), None)

    isolated = function("current")(inc)
    launcher = isolated.make_launcher()
    call = attrs.evolve(launcher.call(((1,), {})), environment=Broken())
    waiter = launcher.make_waiter()
    waiter.wait(launcher.launch(call, waiter))
    with pytest.raises(HostError, match="127"):
        waiter.result()
