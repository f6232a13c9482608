"""The keeper process: nothing is left of a worker that has ended, or of a killed client."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from fal_core import Cancelled, WorkerLost, function
from fal_host_local.workers.keepers import Keeper
from fal_testing.harness.processes import is_alive, wait_until

pytestmark = pytest.mark.faults


DAEMON = """
def start_daemons(path):
    import os, subprocess, sys, time
    code = "import os, sys, time\\n"
    code += "file = os.open(%r, os.O_APPEND | os.O_CREAT | os.O_WRONLY)\\n" % path
    # Each daemon ends by being killed, as what starts them below does.
    code += "os.write(file, b'%d ' % os.getpid()); time.sleep(600)"
    subprocess.Popen([sys.executable, "-c", code], start_new_session=True)
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv(sys.executable, [sys.executable, "-c", code])
        os._exit(0)
    # Until both daemons run.
    while count(path) < 2:
        time.sleep(0.01)

def count(path):
    try:
        with open(path) as file:
            return len(file.read().split())
    except FileNotFoundError:
        return 0
"""


@pytest.mark.parametrize(
    ("end", "error"), [("exit", WorkerLost), ("kill", WorkerLost), ("cancel", Cancelled)]
)
def test_children_end_with_their_worker(tmp_path: Path, end: str, error: type[Exception]):
    """Children that were double-forked or called setsid do not outlive their work."""
    path = str(tmp_path / "pids")
    space: dict[str, Any] = {}
    exec(DAEMON, space)
    start_daemons, count = space["start_daemons"], space["count"]

    @function("current")
    def work(path: str, end: str) -> None:
        start_daemons(path)
        if end == "exit":
            os._exit(1)
        if end == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        # Ends by being killed.
        time.sleep(60)

    info = work.spawn(path, end)
    assert info.future is not None
    if end == "cancel":
        assert wait_until(lambda: count(path) == 2, 30)
        info.cancel()
    with pytest.raises(error):
        info.future.result(timeout=60)

    pids = [int(pid) for pid in Path(path).read_text().split()]
    assert len(pids) == 2
    assert wait_until(lambda: not any(map(is_alive, pids)), 30)


def test_a_child_of_a_call_that_kept_its_worker_busy_ends_with_it(tmp_path: Path):
    """A cancelled call's child ends also where no other thread ran for long after its start."""
    pid, ready = tmp_path / "pid", tmp_path / "ready"

    @function("current")
    def work(pid: str, ready: str) -> None:
        interval = sys.getswitchinterval()
        sys.setswitchinterval(60)
        child = os.fork()
        if not child:
            # Ends by being killed.
            time.sleep(600)
            os._exit(0)
        until = time.monotonic() + 0.3
        while time.monotonic() < until:
            pass
        sys.setswitchinterval(interval)
        Path(pid).write_text(str(child))
        # The thread that hears of the cancel takes over now.
        time.sleep(0.3)
        Path(ready).touch()
        # Ends by being cancelled.
        time.sleep(60)

    info = work.spawn(str(pid), str(ready))
    assert info.future is not None
    assert wait_until(ready.exists, 60)
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(timeout=60)
    assert wait_until(lambda: not is_alive(int(pid.read_text())), 30)


CLIENT = """
import os, sys, time
from fal_core import function

@function("current")
def work(path):
    import os, subprocess, sys, time
    # Child, worker and client end by being killed.
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    with open(path, "w") as file:
        file.write(f"{os.getpid()} {child.pid}")
    # Ends by being killed.
    time.sleep(600)

@function("current")
def idle():
    import os
    return os.getpid()

@function("current")
def hold(path):
    # Holds the GIL below Python, so that nothing of ours can run in the worker.
    import ctypes, os
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    # Ends by being killed.
    ctypes.PyDLL(None).sleep(600)

print(idle(), flush=True)
work.spawn(sys.argv[1])
hold.spawn(sys.argv[2])
# Ends by being killed.
time.sleep(600)
"""


def test_nothing_is_left_of_a_client_that_was_killed(tmp_path: Path):
    """SIGKILL on the client ends its workers, their children and the keeper within 2 s."""
    # A machine that stands still for so long ends nothing meanwhile.
    assert any(outlive_a_client(tmp_path / str(number)) < 2 for number in range(3))


def outlive_a_client(folder: Path) -> float:
    """Kill a client during its calls, and return the seconds until all its processes were gone."""
    folder.mkdir()
    paths = [folder / "work", folder / "hold"]
    client = subprocess.Popen(
        [sys.executable, "-c", CLIENT, *map(str, paths)], stdout=subprocess.PIPE, text=True
    )
    assert client.stdout is not None
    pids = [int(client.stdout.readline())]
    assert wait_until(lambda: all(path.exists() and path.read_text() for path in paths), 60)
    # It has the GIL, and holds it, a moment after it has written its file.
    time.sleep(0.1)
    pids += [int(pid) for path in paths for pid in path.read_text().split()]
    keeper = int(Path(f"/proc/{pids[0]}/stat").read_text().rpartition(")")[2].split()[1])
    assert keeper != client.pid
    pids.append(keeper)

    client.kill()
    client.wait()
    client.stdout.close()
    killed = time.monotonic()

    assert wait_until(lambda: not any(map(is_alive, pids)), 60), pids
    return time.monotonic() - killed


def test_who_ends_a_worker_holds_nothing_of_others(tmp_path: Path) -> None:
    """What a worker has is free once it has ended, also while a command ends another one."""
    begun, done, pid = tmp_path / "begun", tmp_path / "done", tmp_path / "pid"
    run = f"echo $$ > {pid}; exec sleep 600"
    stop = f"touch {begun}; while ! [ -e {done} ]; do sleep 0.05; done; kill $(cat {pid})"
    keeper = Keeper()
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_RDWR)

    def start(argv: list[str], **more: Any) -> int:
        return keeper.start(argv, dict(os.environ), os.getcwd(), [null], **more)

    one = start(["sleep", "600"], held=[writer])
    os.close(writer)
    apart = start(["sh", "-c", run], stop_argv=["sh", "-c", stop])
    try:
        assert wait_until(pid.exists, 30)
        keeper.kill(apart)
        assert wait_until(begun.exists, 30)
        keeper.kill(one)
        assert keeper.wait(one, 30) is not None
        # Nobody has the other end.
        poll = select.poll()
        poll.register(reader, select.POLLHUP)
        assert poll.poll(5000)
    finally:
        done.touch()
        assert keeper.wait(apart, 30) is not None
        keeper.close()
        os.close(reader)
        os.close(null)
