"""What the page of guarantees says of calls on this machine, in each way of calling."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from fal_core import HostError, WorkerLost, attach, function
from fal_core_worker import trees
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until

#: A client that makes one call, in the way that its second argument names.
CLIENT = """
import sys
from fal_core import function

@function("current")
def work(path):
    import os, time
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    # Ends by being killed.
    time.sleep(600)

@function("current")
def items(path):
    import os, time
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\\n")
    yield 1
    # Ends by being killed.
    time.sleep(600)

path, way = sys.argv[1:]
if way == "call":
    work(path)
elif way == "submit":
    work.submit(path).result()
elif way == "spawn":
    work.spawn(path).return_value
elif way == "map":
    list(work.map([path]))
else:
    list(items.stream(path))
"""


def read_pids(path: Path) -> list[int]:
    """Return the processes that have written themselves down, one for each run."""
    try:
        return [int(line) for line in path.read_text().splitlines()]
    except FileNotFoundError:
        return []


@pytest.mark.faults
@pytest.mark.parametrize("way", ["call", "submit", "spawn", "map", "stream"])
def test_caller_that_is_killed(way: str, tmp_path: Path):
    """Attached work ends with its caller, in each way of calling, and is not run again."""
    path = tmp_path / "pids"
    client = subprocess.Popen([sys.executable, "-c", CLIENT, str(path), way])
    assert wait_until(lambda: read_pids(path) != [], 60)
    client.kill()
    client.wait()
    assert wait_until(lambda: not any(map(is_alive, read_pids(path))), 60)
    assert len(read_pids(path)) == 1


def kill_keeper(path: str) -> int:
    """Kill the keeper of the worker that runs this, after it was noted that it runs."""
    import time

    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    os.kill(os.getppid(), signal.SIGKILL)
    # Ends by being killed, or returns.
    time.sleep(600)
    return 1


@pytest.mark.faults
def test_keeper_that_is_killed(tmp_path: Path, host: LocalHost):
    """
    A call ends with the keeper of its worker, with an error of the host; it is not run
    again, and nothing is left of it.
    """
    path = tmp_path / "pids"
    with pytest.raises(HostError):
        function("current", host=host)(kill_keeper)(str(path))
    assert wait_until(lambda: not any(map(is_alive, read_pids(path))), 60)
    assert len(read_pids(path)) == 1


def leave_twice(path: str) -> int:
    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n")
    if len(read_pids(Path(path))) < 3:
        os._exit(3)
    return 7


@pytest.mark.faults
@pytest.mark.parametrize("retries", [0, 2])
def test_detached_work_whose_worker_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, retries: int
):
    """
    Detached work whose worker is lost is made again by its supervisor, as often as *retries*
    says, and otherwise ends as ``WorkerLost``.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pids"
    isolated = function("current", lifetime="detached", retries=retries)(leave_twice)
    info = attach("local", isolated.spawn(str(path)).reference)
    assert info.future is not None
    if retries:
        assert info.future.result(60) == 7
    else:
        assert isinstance(info.future.exception(60), WorkerLost)
    assert len(read_pids(path)) == 1 + retries


def wait_to_be_killed(path: str) -> None:
    import time

    with open(path, "a") as file:
        file.write(f"{os.getpid()}\n{os.getppid()}\n")
    # Ends by being killed.
    time.sleep(600)


@pytest.mark.faults
def test_detached_work_of_a_machine_that_was_restarted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    Detached work ends with its machine, and is not run again after a restart: it is listed
    as failed, and attaching to it raises ``WorkerLost``.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    path = tmp_path / "pids"
    isolated = function("current", lifetime="detached", retries=3)(wait_to_be_killed)
    reference = isolated.spawn(str(path)).reference
    assert wait_until(lambda: len(read_pids(path)) == 2, 60)
    status = tmp_path / "cache" / "executions" / reference / "status.json"
    # A worker, its keeper and its supervisor, all at once.
    pids = [int(json.loads(status.read_text())["pid"]), *read_pids(path)]
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not any(map(is_alive, pids)), 60)
    # The clock that starts with the machine.
    monkeypatch.setattr(trees, "now", lambda: 1.0)
    info = attach("local", reference)
    assert info.future is not None
    assert isinstance(info.future.exception(60), WorkerLost)
    (listed,) = LocalHost().executions()
    assert (listed.reference, listed.ended, listed.end) == (reference, True, "failed")
    assert len(read_pids(path)) == 2
