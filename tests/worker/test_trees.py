"""Process trees: everything that a process has started is found, and killed."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from fal_core_worker import trees
from fal_testing.harness.processes import is_alive, wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs subreapers")

#: Seconds that processes have.
PATIENCE = 30

#: Starts a child, and an orphan in a session of its own; prints both, and reads commands.
PROGRAM = """
import os, subprocess, sys, time
from fal_core_worker import trees

SLEEP = [sys.executable, "-c", "import time; time.sleep(600)"]
trees.become_subreaper()
orphan, told = os.pipe()
if not os.fork():
    os.setsid()
    os.write(told, str(subprocess.Popen(SLEEP).pid).encode())
    os._exit(0)
child = subprocess.Popen(SLEEP).pid
orphan = int(os.read(orphan, 20))
os.wait()
print(child, orphan, flush=True)
for line in sys.stdin:
    print(repr(eval(line)), flush=True)
"""


class Parent:
    """A process with a child and an orphan."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        self.child, self.orphan = map(int, self.process.stdout.readline().split())

    def ask(self, expression: str) -> Any:
        """Return the value of an expression in the process."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        print(expression, file=self.process.stdin, flush=True)
        return eval(self.process.stdout.readline())


@pytest.fixture
def parent() -> Iterator[Parent]:
    parent = Parent()
    with parent.process:
        yield parent
        parent.ask("trees.kill_descendants(os.getpid())")
        parent.process.kill()


def test_descendants_are_found_wherever_they_are(parent: Parent) -> None:
    """Orphans in sessions of their own belong to the subreaper above them."""
    pid = parent.process.pid
    assert set(trees.children(pid)) == {parent.child, parent.orphan}
    assert pid in trees.children(os.getpid())
    below = trees.descendants(os.getpid())
    assert {pid, parent.child, parent.orphan} <= set(below)
    assert trees.descendants(parent.child) == []


def test_children_are_found_without_the_lists_of_the_system(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system lists no children they are found by their parents."""

    def missing(path: str) -> list[str]:
        if path.endswith("/task"):
            raise FileNotFoundError(path)
        return listdir(path)

    listdir = os.listdir
    monkeypatch.setattr(trees.os, "listdir", missing)
    assert set(trees.children(parent.process.pid)) == {parent.child, parent.orphan}


def test_a_process_that_is_gone_has_nothing() -> None:
    """Neither children nor a start are known of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait(PATIENCE)
    assert trees.children(process.pid) == []
    assert trees.started(process.pid) == 0.0
    trees.kill_descendants(process.pid)


def test_descendants_are_killed_and_reaped(parent: Parent) -> None:
    """No descendant of the process that asks is left, not even as a zombie."""
    assert parent.ask("trees.kill_descendants(os.getpid())") is None
    assert not is_alive(parent.child)
    assert not is_alive(parent.orphan)
    assert parent.ask("trees.children(os.getpid())") == []


def test_descendants_of_another_process_are_killed(
    parent: Parent, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process itself goes on; whether it reaps them is not waited for."""
    # It would try again until its time is over.
    endless = SimpleNamespace(monotonic=lambda: 0.0, sleep=time.sleep)
    monkeypatch.setattr(trees, "time", endless)
    trees.kill_descendants(parent.process.pid)
    assert not is_alive(parent.child)
    assert not is_alive(parent.orphan)
    assert parent.process.poll() is None
    assert set(trees.children(parent.process.pid)) == {parent.child, parent.orphan}


def test_only_what_was_started_since_is_killed(parent: Parent) -> None:
    """Children from before a moment go on."""
    before = trees.started(parent.child)
    assert 0 < before <= trees.now()
    # The starts of processes are told in hundredths of a second.
    assert wait_until(lambda: trees.now() > before + 0.1, PATIENCE)
    since, late = parent.ask("trees.now(), subprocess.Popen(SLEEP).pid")
    assert parent.ask(f"trees.kill_descendants(os.getpid(), {since})") is None
    assert not is_alive(late)
    assert is_alive(parent.child)
    assert is_alive(parent.orphan)


def test_a_prepared_child_dies_with_its_parent() -> None:
    """A child that has prepared itself is killed as soon as its parent ends."""
    program = (
        "import os, sys, time\n"
        "from fal_core_worker import trees\n"
        "reader, writer = os.pipe()\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    trees.prepare_child()\n"
        "    os.write(writer, b'!')\n"
        "    time.sleep(600)\n"
        "os.read(reader, 1)\n"
        "print(child)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=PATIENCE
    )
    child = int(done.stdout)
    assert wait_until(lambda: not is_alive(child), PATIENCE)


#: Starts a child beside itself, and then one in a pid namespace of its own.
MONITOR = """
import ctypes, os, subprocess, sys

SLEEP = "import time; print('up', flush=True); time.sleep(600)"
sleep = [sys.argv[1], "-c", SLEEP]
beside = subprocess.Popen(sleep, stdout=subprocess.PIPE)
user, pid = 0x10000000, 0x20000000
if not ctypes.CDLL(None).unshare(pid if os.getuid() == 0 else user | pid):
    inside = subprocess.Popen(sleep, stdout=subprocess.PIPE)
    inside.stdout.readline(), beside.stdout.readline()
    print(beside.pid, inside.pid, flush=True)
    inside.wait()
    print("seen", flush=True)
    sys.stdin.read()
beside.kill()
"""


def test_the_monitor_of_a_container_is_left_to_clean_up(tmp_path: Any) -> None:
    """What runs in a container is killed, and its monitor, with the monitor's helpers, is not."""
    program = tmp_path / "conmon"
    shutil.copy(os.path.realpath(sys.executable), program)
    paths = {
        "PYTHONHOME": os.pathsep.join((sys.base_prefix, sys.base_exec_prefix)),
        "PYTHONPATH": os.pathsep.join(sys.path),
        "LD_LIBRARY_PATH": os.path.join(sys.base_prefix, "lib"),
    }
    starter = "import subprocess, sys; subprocess.run([*sys.argv[1:], sys.executable])"
    process = subprocess.Popen(
        [sys.executable, "-c", starter, str(program), "-c", MONITOR],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, **paths},
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    line = process.stdout.readline()
    if not line:
        process.wait()
        pytest.skip("no pid namespace can be made here")
    beside, contained = map(int, line.split())
    [monitor] = trees.children(process.pid)
    try:
        assert trees.is_monitor(monitor)
        assert trees.contained(process.pid) == [contained]
        assert trees.descendants(process.pid) == [contained]

        trees.kill_descendants(process.pid)

        assert process.stdout.readline() == "seen\n"
        assert not is_alive(contained)
        assert is_alive(monitor)
        assert is_alive(beside)
    finally:
        for pid in (beside, contained):
            if is_alive(pid):
                os.kill(pid, signal.SIGKILL)
        process.stdin.close()
        process.wait(PATIENCE)
        process.stdout.close()


@pytest.mark.parametrize("hidden", [False, True])
def test_a_name_makes_no_monitor(hidden: bool) -> None:
    """
    A process that gives itself the name of a monitor, and keeps its program secret, is killed
    with all others.
    """
    program = f"""\
import ctypes, sys
prctl = ctypes.CDLL(None).prctl
assert prctl(15, b"conmon", 0, 0, 0) == 0
if {hidden}:
    assert prctl(4, 0, 0, 0, 0) == 0
print(flush=True)
sys.stdin.read()
"""
    starter = "import subprocess, sys; subprocess.run([sys.executable, '-c', sys.argv[1]])"
    process = subprocess.Popen(
        [sys.executable, "-c", starter, program],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    with process, process.stdin, process.stdout:
        assert process.stdout.readline()
        [child] = trees.children(process.pid)
        assert Path(f"/proc/{child}/comm").read_text() == "conmon\n"
        trees.kill_descendants(process.pid)
        assert process.wait(PATIENCE) == 0
