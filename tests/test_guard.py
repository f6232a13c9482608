"""
The guard: it ends as what it started has ended, once nothing of that is left.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from fal_core_worker.guard import guarded

#: Starts a child of its own session, tells its process, and ends as it is told.
LEAVES_A_CHILD = """
import os, sys, time
reader, writer = os.pipe()
if not os.fork():
    os.setsid()
    if os.fork():
        os._exit(0)
    os.write(writer, str(os.getpid()).encode())
    time.sleep(60)
print(os.read(reader, 20).decode(), flush=True)
exec(sys.argv[1])
"""


def start(*argv: str) -> subprocess.Popen[str]:
    """
    Start *argv* under a guard.
    """
    return subprocess.Popen(guarded(argv), stdout=subprocess.PIPE, text=True)


def is_alive(pid: int) -> bool:
    """
    Tell whether process *pid* runs.
    """
    path = Path(f"/proc/{pid}/stat")
    return path.exists() and path.read_text().rpartition(")")[2].split()[0] not in "ZX"


@pytest.mark.parametrize(
    ("how", "code"),
    [
        ("os._exit(0)", 0),
        ("os._exit(3)", 3),
        ("os.kill(os.getpid(), 9)", -signal.SIGKILL),
        ("os.kill(os.getpid(), 11)", -signal.SIGSEGV),
    ],
)
def test_ends_as_its_process_and_leaves_nothing(how: str, code: int) -> None:
    """
    The guard has the exit code or the signal of its process; orphans are gone by then.
    """
    with start(sys.executable, "-c", LEAVES_A_CHILD, how) as process:
        assert process.stdout is not None
        orphan = int(process.stdout.readline())
        assert process.wait(20) == code
    assert not is_alive(orphan)


def test_terminating_it_ends_all() -> None:
    """
    SIGTERM to the guard ends its process, and what that has started.
    """
    with start(sys.executable, "-c", LEAVES_A_CHILD, "time.sleep(60)") as process:
        assert process.stdout is not None
        orphan = int(process.stdout.readline())
        process.terminate()
        assert process.wait(20) == -signal.SIGKILL
    assert not is_alive(orphan)


def test_process_dies_with_a_killed_guard() -> None:
    """
    A guard that is killed takes its process with it.
    """
    program = "import os, time; print(os.getpid(), flush=True); time.sleep(60)"
    with start(sys.executable, "-c", program) as process:
        assert process.stdout is not None
        inner = int(process.stdout.readline())
        assert inner != process.pid
        os.kill(process.pid, signal.SIGKILL)
        process.wait(20)
    until = time.monotonic() + 10
    while is_alive(inner):
        assert time.monotonic() < until
        time.sleep(0.02)


def test_command_that_is_not_there() -> None:
    """
    A command that cannot be started ends with 127, as in a shell.
    """
    done = subprocess.run(guarded(["no-such-command"]), capture_output=True, text=True)
    assert done.returncode == 127
    assert done.stderr == "no-such-command cannot be started: No such file or directory\n"
