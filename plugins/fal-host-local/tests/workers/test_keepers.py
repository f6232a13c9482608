"""Keepers: how a worker has ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

import pytest

from fal_core import HostError, OutOfMemory, WorkerLost, function
from fal_host_local import LocalHost
from fal_host_local.workers.keepers import Keeper, memory_kills
from fal_testing.harness.processes import is_alive, wait_until

pytestmark = pytest.mark.faults


def inc(x: int) -> int:
    return x + 1


def test_worker_killed_mid_call_is_named_and_the_next_call_works():
    """A worker that SIGKILL ends is a host error that names the signal."""

    @function("current")
    def kill() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        kill()

    assert caught.value.signal == signal.SIGKILL
    assert function("current")(inc)(1) == 2


def test_exit_in_the_function_is_reported_with_its_code():
    """``os._exit`` in the function is a host error that names the code."""

    @function("current")
    def leave() -> None:
        os._exit(7)

    with pytest.raises(WorkerLost, match="code 7") as caught:
        leave()

    assert caught.value.code == 7


def test_segfault_is_reported():
    """A crash below Python is a host error that names SIGSEGV."""

    @function("current")
    def crash() -> None:
        import ctypes

        ctypes.string_at(0)

    with pytest.raises(WorkerLost, match="SIGSEGV"):
        crash()


@pytest.fixture
def narrow_group() -> Iterator[Path]:
    """A control group with room for a few processes, but not for one that goes on filling memory."""
    group = Path("/sys/fs/cgroup/memory") / f"fal-core-test-{os.getpid()}"
    try:
        group.mkdir()
    except OSError as error:
        pytest.skip(f"A memory cgroup cannot be made here: {error.strerror}.")
    (group / "memory.limit_in_bytes").write_text(str(256 << 20))
    yield group
    assert wait_until(lambda: not (group / "cgroup.procs").read_text(), 30)
    group.rmdir()


def run_in(group: Path, source: str) -> subprocess.CompletedProcess[str]:
    """Run a program in a control group."""
    enter = 'echo $$ > "$1"; shift; exec "$@"'
    argv = ["sh", "-c", enter, "sh", str(group / "cgroup.procs"), sys.executable, "-c", source]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120)


FILL = """
def fill():
    import os

    held = []
    while True:
        held.append(os.urandom(1 << 20))
"""


def test_a_worker_killed_for_want_of_memory_is_named(narrow_group: Path):
    """A worker that the system ends for the memory it uses is an ``OutOfMemory``."""
    call = """
from fal_core import OutOfMemory, function

try:
    function("current")(fill)()
except OutOfMemory as error:
    print(error)
"""
    assert "out of memory" in run_in(narrow_group, FILL + call).stdout


def test_a_worker_killed_while_another_has_no_memory_is_not_out_of_it(narrow_group: Path):
    """
    A worker that was killed is said to be so, although the system has ended a program of
    another control group for the memory that it used.
    """

    @function("current")
    def be_killed() -> None:
        import os
        import signal
        import subprocess
        import sys

        enter = f'echo $$ > {narrow_group}/cgroup.procs; exec "$@"'
        other = subprocess.run(["sh", "-c", enter, "sh", sys.executable, "-c", FILL + "fill()"])
        assert other.returncode == -signal.SIGKILL
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(WorkerLost, match="SIGKILL") as caught:
        be_killed()

    assert not isinstance(caught.value, OutOfMemory)


#: What version 2 tells of a control group: 3 were killed in it.
EVENTS = "low 0\nhigh 0\nmax 41\noom 5\noom_kill 3\noom_group_kill 0\n"
#: And version 1.
CONTROL = "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n"


@pytest.mark.parametrize(
    ("groups", "file", "text", "kills"),
    [
        ("0::/user.slice/a:b\n", "user.slice/a:b/memory.events.local", EVENTS, 3),
        ("0::/\n", "memory.events.local", EVENTS, 3),
        # In a container.
        ("0::/docker/1234\n", "memory.events.local", EVENTS, 3),
        ("5:memory:/a\n1:cpu:/b\n0::/\n", "memory/a/memory.oom_control", CONTROL, 4),
        ("5:memory:/docker/1\n0::/\n", "memory/memory.oom_control", CONTROL, 4),
        # With what was killed in groups below, which others have.
        ("0::/a\n", "a/memory.events", EVENTS, 7),
        ("1:cpu:/a\n", "memory/a/memory.oom_control", CONTROL, 7),
    ],
)
def test_processes_killed_in_the_own_control_group_are_counted(
    groups: str, file: str, text: str, kills: int, tmp_path: Path
):
    """
    The count is that of the control group of this process, of either version; that of the
    whole machine where the group has none.
    """
    files = {
        "proc/self/cgroup": groups,
        "proc/vmstat": "oom_kill 7\n",
        f"sys/fs/cgroup/{file}": text,
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(content)
    assert memory_kills(anywhere=False, root=str(tmp_path)) == kills
    assert memory_kills(anywhere=True, root=str(tmp_path)) == 7
    assert memory_kills(anywhere=False, root=str(tmp_path / "nothing")) == 0


def test_an_interpreter_that_cannot_start_is_an_error(tmp_path: Path):
    """A worker that does not start is a host error, not a hang."""
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


def keeper_of(host: LocalHost) -> int:
    assert host._keeper is not None
    return host._keeper._pid


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_keeper_that_is_ended_is_replaced(
    number: signal.Signals, host: LocalHost, monkeypatch: pytest.MonkeyPatch
):
    """After the end of a keeper, another one takes its place; a line says how it has ended."""
    # Reading what pytest has captured loses what another thread prints meanwhile.
    said = StringIO()
    monkeypatch.setattr(sys, "stderr", said)
    isolated = function("current", host=host)(inc)
    worker = function("current", host=host)(os.getpid)()
    before = keeper_of(host)
    os.kill(before, number)
    # A call may be sent to a worker that has a moment left.
    assert wait_until(lambda: not (is_alive(before) or is_alive(worker)), 30)
    assert [isolated(each) for each in range(3)] == [1, 2, 3]
    assert keeper_of(host) != before
    # It was waited for.
    with pytest.raises(ChildProcessError):
        os.waitpid(before, os.WNOHANG)
    # The thread that has noticed it says so, while calls go on.
    last = "Another one takes its place."
    assert wait_until(lambda: said.getvalue().endswith(f"{last}\n"), 30)
    assert f"the workers of this program was ended by {number.name}" in said.getvalue()
    assert said.getvalue().count(last) == 1


def test_a_keeper_that_the_program_has_waited_for_is_replaced(host: LocalHost):
    """A program that waits for any child process may have reaped the keeper itself."""
    worker = function("current", host=host)(os.getpid)()
    os.kill(keeper_of(host), signal.SIGKILL)
    os.waitpid(keeper_of(host), 0)
    assert wait_until(lambda: not is_alive(worker), 30)
    assert function("current", host=host)(inc)(2) == 3


def test_a_keeper_that_has_ended_is_waited_for_once(monkeypatch: pytest.MonkeyPatch):
    """Closing it waits for no other child process that has its number by now."""
    keeper = Keeper()
    os.kill(keeper._pid, signal.SIGKILL)
    assert wait_until(lambda: bool(keeper.end()), 30)
    waited: list[int] = []
    monkeypatch.setattr(os, "waitpid", lambda pid, _: waited.append(pid))
    keeper.close()
    assert not waited


def test_a_call_that_meets_the_end_of_a_keeper_is_made_again(host: LocalHost):
    """A call for which a keeper has not started a worker yet runs with the next one."""
    host._find_keeper()
    before = keeper_of(host)
    os.kill(before, signal.SIGSTOP)
    future = function("current", host=host)(inc).submit(1)
    # Its request waits to be read.
    assert wait_until(lambda: host.worker_count == 1, 30)
    os.kill(before, signal.SIGKILL)
    assert future.result(timeout=60) == 2


#: A Python that ends its keeper before it starts, the first times.
FATAL_PYTHON = """#!/bin/sh
if [ $(wc -l < {path}) -lt {times} ]; then
    echo $PPID >> {path}
    kill -KILL $PPID
    # Ends with its parent process.
    exec sleep 600
fi
exec {python} "$@"
"""


@pytest.mark.parametrize("times", [1, 2])
def test_a_worker_that_did_not_come_up_is_started_once_more(
    times: int, tmp_path: Path, host: LocalHost
):
    """A call whose worker has ended with its keeper before it came up is made again, once."""
    import attrs

    from fal_core.environments import CurrentEnvironment, LocalInterpreter

    path, python = tmp_path / "ended", tmp_path / "python"
    path.touch()
    python.write_text(FATAL_PYTHON.format(path=path, times=times, python=sys.executable))
    python.chmod(0o755)

    class Fatal(CurrentEnvironment):
        key = "fatal"

        def build(self, log, cancelled):
            return LocalInterpreter(str(python), None)

    isolated = function("current", host=host)(inc)
    launcher = isolated.make_launcher()
    call = attrs.evolve(launcher.call(((1,), {})), environment=Fatal())
    waiter = launcher.make_waiter()
    waiter.wait(launcher.launch(call, waiter))
    if times == 1:
        assert waiter.result() == 2
    else:
        with pytest.raises(WorkerLost, match="workers of this program was ended by SIGKILL"):
            waiter.result()
    assert len(path.read_text().split()) == times


def test_a_function_that_ends_the_keeper_ends_calls_and_not_the_host(host: LocalHost):
    """Calls that run end with an error that says so, and later ones work."""
    isolated = function("current", host=host, max_concurrency=2)

    def end_keeper() -> None:
        os.kill(os.getppid(), signal.SIGKILL)
        # Ends by being killed.
        time.sleep(600)

    running = isolated(time.sleep).spawn(600)
    assert wait_until(lambda: running.future.running(), 60)
    with pytest.raises(WorkerLost, match="of this program was ended by SIGKILL"):
        isolated(end_keeper)()
    with pytest.raises(WorkerLost, match="of this program was ended by SIGKILL"):
        running.future.result(timeout=60)
    assert isolated(inc)(1) == 2
