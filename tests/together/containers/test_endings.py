"""
Ends of containers: none outlives its call, its host, or its caller.

Two moments of a start are tried by default; FAL_CORE_FAULTS=all tries more.
"""

from __future__ import annotations

import os
import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from local_engines import LocalEngine

from fal_core import Cancelled, WorkerLost
from fal_core.errors import HostError
from fal_host_local import LocalHost
from fal_testing.harness.processes import wait_until

pytestmark = pytest.mark.faults

#: How often a caller is killed as its container starts, a moment later each time.
KILLS = range(6) if os.environ.get("FAL_CORE_FAULTS") == "all" else (0, 2)

#: Seconds that a container has to start, and to be gone.
PATIENCE = 60


def monitors(engine: LocalEngine) -> list[str]:
    """Return the monitors of containers of *engine* that run."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "conmon" in line.partition("\0")[0] and str(engine.folder) in line:
            found.append(line)
    return found


def is_clean(engine: LocalEngine) -> bool:
    """Tell whether there is no container, and nothing that watches one."""
    return not engine.containers() and not monitors(engine)


@pytest.fixture
def host(engine: LocalEngine) -> Any:
    host = LocalHost()
    yield host
    host.close()


def test_a_cancelled_call_leaves_no_container(
    host: LocalHost,
    contained: Any,
    engine: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
):
    """A call that ignores its cancel is ended with its container, and the next call works."""

    @contained(host=host)
    def resist(seconds: float) -> None:
        import signal
        import time

        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)
        until = time.monotonic() + seconds
        open("resisting", "w").close()
        while time.monotonic() < until:
            try:
                time.sleep(seconds)
            except BaseException:
                pass

    @contained(host=host)
    def work() -> int:
        return 1

    monkeypatch.chdir(tmp_path)
    resisting = tmp_path / "resisting"
    info = resist.spawn(10 * PATIENCE)
    assert info.future is not None
    assert wait_until(resisting.exists, PATIENCE)
    assert len(engine.containers()) == 1
    info.cancel()
    with pytest.raises(Cancelled):
        info.future.result(PATIENCE)
    assert wait_until(lambda: is_clean(engine), PATIENCE)
    assert work() == 1


def test_a_closed_host_leaves_no_container(host: LocalHost, contained: Any, engine: Any):
    """Warm workers end with their host, and their containers are gone."""

    @contained(host=host)
    def work() -> int:
        return 1

    assert work() == 1
    assert len(engine.containers()) == 1
    host.close()
    assert wait_until(lambda: is_clean(engine), PATIENCE)


CALLER = """
import sys, time
from fal_core import function

@function("container", image=sys.argv[1])
def work(seconds):
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("up", flush=True)
    # Ends by being killed.
    time.sleep(seconds)

work(600)
"""


@pytest.fixture
def caller_file(tmp_path: Path) -> Path:
    """A program whose call runs until it is killed."""
    file = tmp_path / "caller.py"
    file.write_text(CALLER)
    return file


def test_a_container_ends_with_a_caller_that_was_killed(
    engine: Any, image: str, caller_file: Path
):
    """``SIGKILL`` on the caller ends its containers, though nothing of it runs any more."""
    caller = subprocess.Popen(
        [sys.executable, "-u", str(caller_file), image],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert caller.stdout is not None
    assert "up" in caller.stdout.readline()
    assert len(engine.containers()) == 1
    caller.kill()
    caller.wait()
    caller.stdout.close()
    assert wait_until(lambda: is_clean(engine), PATIENCE)


def test_a_container_that_starts_when_its_caller_is_killed_ends(
    engine: Any, image: str, caller_file: Path
):
    """None is left of a caller that was killed at any moment of the start."""
    callers = []
    for number in KILLS:
        caller = subprocess.Popen(
            [sys.executable, "-u", str(caller_file), image],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )
        callers.append(caller.pid)
        # The engine is found and asked for the image, and then makes the container.
        assert wait_until(partial(has_run, caller.pid), PATIENCE)
        wait_until(lambda: bool(engine.containers()), 0.1 * number)
        caller.kill()
        caller.wait()
    assert wait_until(lambda: is_clean(engine) and not any(map(has_run, callers)), PATIENCE)


def has_run(caller: int) -> bool:
    """Tell whether the engine makes or runs a container for the process *caller*."""
    wanted = f"fal-core-{caller}-"
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            line = (folder / "cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        if "podman" in line.partition("\0")[0] and f"--name={wanted}" in line:
            return True
    return False


def leave_processes(how: str) -> list[int]:
    """Leave a child process, and one that belongs to no one, which is of a session of its own."""
    import time

    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        os.setsid()
        other = os.fork()
        if other:
            os.write(writer, f"{os.getpid()} {other}\n".encode())
        # Both end by being killed.
        time.sleep(600)
        os._exit(0)
    pids = [int(pid) for pid in os.read(reader, 100).split()]
    if how == "exit":
        os._exit(7)
    return pids


@pytest.mark.parametrize("how", ["return", "exit"])
def test_a_container_that_forks_leaves_no_process(
    how: str, host: LocalHost, contained: Any, engine: Any
):
    """
    What a function has forked ends with its container, whether the worker ends or is lost, and
    so do processes that belong to no one.
    """
    fork = contained(host=host)(leave_processes)
    if how == "exit":
        with pytest.raises(WorkerLost, match="code 7"):
            fork(how)
    else:
        assert len(fork(how)) == 2
    assert contained(host=host)(find_pid)() > 0
    assert sleepers(engine)
    host.close()
    assert wait_until(lambda: is_clean(engine) and not sleepers(engine), PATIENCE)


def find_pid() -> int:
    return os.getpid()


def sleepers(engine: LocalEngine) -> list[str]:
    """Return the processes whose root is a container of *engine*."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            mounts = (folder / "mountinfo").read_text().partition("\n")[0]
        except OSError:
            continue
        if str(engine.folder) in mounts:
            found.append(folder.name)
    return found


def test_an_image_that_is_removed_is_named(host: LocalHost, contained: Any, engine: Any):
    """
    Its containers are removed with it. The error of the next call names the image, and a call
    works when there is such an image again.
    """
    name = "localhost/tests/removed:1"
    engine.run("tag", engine.import_python(), name)
    made = engine.run("create", "--pull=never", name, "true")
    engine.run("commit", "--quiet", "--change", "LABEL of=removed", made, name)
    engine.run("rm", made)

    @contained(host=host, image=name)
    def work() -> int:
        return 1

    assert work() == 1
    engine.run("rmi", "--force", "--no-prune", name)
    with pytest.raises(HostError, match=f"Image '{name}' was removed from podman"):
        work()
    engine.run("tag", engine.import_python(), name)
    assert work() == 1
