"""
Work that outlives the process that launched it.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fal_core import Cancelled, HostError, WorkerLost, attach, function
from fal_core.cli.program import cli
from fal_core.testing.processes import is_alive, wait_until
from fal_core_worker.running import trees
from fal_host_local import LocalHost, detached

LAUNCHER = """
import os, sys, time
from fal_core import function

@function("current")
def work(path, steps):
    import os, time
    with open(path, "w") as file:
        file.write(str(os.getpid()))
    for step in range(steps):
        print("step", step)
        time.sleep(0.1)
    return {"steps": steps}

info = work.with_policy(lifetime="detached").spawn(sys.argv[1], int(sys.argv[2]))
print(info.reference, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Launch detached work from a process that is then killed; return its reference.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))

    def run(steps: int) -> tuple[str, int]:
        result = subprocess.run(
            [sys.executable, "-c", LAUNCHER, str(tmp_path / "pid"), str(steps)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert result.returncode == -signal.SIGKILL, result.stderr
        path = tmp_path / "pid"
        assert wait_until(lambda: path.exists() and path.read_text() != "", 60)
        return result.stdout.strip(), int(path.read_text())

    return run


def supervisor_of(tmp_path: Path, reference: str) -> int:
    status = tmp_path / "cache" / "executions" / reference / "status.json"
    return int(json.loads(status.read_text())["pid"])


def test_detached_work_survives_its_client(launch, tmp_path: Path):
    """
    Another process gets the logs from the first line on, and the result.
    """
    reference, _ = launch(5)

    info = attach("local", reference)

    assert info.return_value == {"steps": 5}
    lines = [info.logs.get().message for _ in range(info.logs.qsize())]
    assert lines == [f"step {step}" for step in range(5)]
    supervisor = supervisor_of(tmp_path, reference)
    assert wait_until(lambda: not is_alive(supervisor), 30)


def test_what_has_ended_is_attached_to_as_well(launch):
    """
    The journal outlives the work: its result can be had again.
    """
    reference, _ = launch(1)

    assert attach("local", reference).return_value == {"steps": 1}
    assert attach("local", reference).return_value == {"steps": 1}


def test_work_that_ends_as_it_is_attached_to(launch, monkeypatch: pytest.MonkeyPatch):
    """
    Where the supervisor is gone once it was found, the journal has the result.
    """
    reference, _ = launch(1)
    assert attach("local", reference).return_value == {"steps": 1}

    def connect_to_what_is_gone(directory: Path) -> socket.socket:
        ours, theirs = socket.socketpair()
        theirs.close()
        return ours

    monkeypatch.setattr(detached, "connect", connect_to_what_is_gone)
    assert attach("local", reference).return_value == {"steps": 1}


def test_a_supervisor_that_starts_as_it_is_looked_for(tmp_path, monkeypatch):
    """
    One that takes connections right after a look found none is not taken for gone.
    """
    status = tmp_path / "status.json"
    status.write_text(json.dumps({"since": trees.now()}))

    def connect_just_before_it_listens(directory: Path) -> socket.socket:
        status.write_text(json.dumps({"since": trees.now(), "pid": os.getpid()}))
        raise ConnectionRefusedError

    monkeypatch.setattr(detached, "connect", connect_just_before_it_listens)
    assert detached.is_supervised(tmp_path)
    assert not detached.is_supervised(tmp_path)


def test_events_that_were_seen_can_be_left_out(launch):
    """
    ``after`` leaves out that many events.
    """
    reference, _ = launch(2)
    assert attach("local", reference).return_value == {"steps": 2}

    info = attach("local", reference, after=4)

    assert info.return_value == {"steps": 2}
    assert info.logs.qsize() < 2


def test_detached_work_is_listed_and_cancelled(launch, tmp_path: Path):
    """
    Another process lists the work, and ends it by its reference.
    """
    reference, pid = launch(600)
    (status,) = LocalHost().executions()
    assert (status.reference, status.name, status.ended) == (reference, "work", False)

    info = attach("local", reference)
    info.cancel(grace=1)

    assert info.future is not None
    with pytest.raises(Cancelled):
        info.future.result(timeout=60)
    supervisor = supervisor_of(tmp_path, reference)
    assert wait_until(lambda: not (is_alive(pid) or is_alive(supervisor)), 30)
    (status,) = LocalHost().executions()
    assert (status.ended, status.end, status.error) == (True, "cancelled", "")


def test_a_supervisor_that_was_killed_is_told(launch, tmp_path: Path):
    """
    Work whose supervisor was killed ends with it, and whoever attaches learns it.
    """
    reference, pid = launch(600)
    os.kill(supervisor_of(tmp_path, reference), signal.SIGKILL)

    assert wait_until(lambda: not is_alive(pid), 30)
    info = attach("local", reference)
    assert info.future is not None
    with pytest.raises(WorkerLost, match="supervisor"):
        info.future.result(timeout=30)
    (status,) = LocalHost().executions()
    assert (status.ended, status.end) == (True, "failed")
    assert status.error.startswith("WorkerLost: ")
    assert "supervisor" in status.error


@pytest.mark.faults
def test_a_supervisor_ends_where_nothing_can_be_written(launch, tmp_path: Path):
    """
    Work whose directory was removed ends as any other, and its supervisor with it.
    """
    reference, pid = launch(20)
    supervisor = supervisor_of(tmp_path, reference)
    directory = tmp_path / "cache" / "executions" / reference

    def is_removed() -> bool:
        # Its supervisor may write there meanwhile.
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    assert wait_until(is_removed, 30)
    assert wait_until(lambda: not is_alive(pid), 60)
    assert wait_until(lambda: not is_alive(supervisor), 60)


def give() -> int:
    return 1


def fail() -> None:
    raise LookupError("gone")


def exit_at_once() -> None:
    os._exit(3)


@pytest.mark.parametrize(
    ("work", "options", "end", "error", "state"),
    [
        (give, {}, "returned", "", "returned"),
        (fail, {}, "raised", "", "raised"),
        (exit_at_once, {}, "failed", "WorkerLost: The worker exited", "failed (WorkerLost)"),
        (
            give,
            {
                "kind": "virtualenv",
                "requirements": ["absent-thing"],
            },
            "failed",
            "EnvironmentBuildError: ",
            "failed (EnvironmentBuildError)",
        ),
    ],
)
def test_the_listing_says_how_work_has_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    work: Callable[[], object],
    options: dict[str, Any],
    end: str,
    error: str,
    state: str,
):
    """
    What the function did is told apart from what happened to its host.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("UV_NO_INDEX", "1")
    if options.get("kind") == "virtualenv":
        pytest.importorskip("fal_env_virtualenv")
    isolated = function(**{"kind": "current", **options})(work)
    info = isolated.with_policy(lifetime="detached").spawn()
    assert info.future is not None
    info.future.exception(60)
    (status,) = LocalHost().executions()
    assert (status.ended, status.end) == (True, end)
    assert status.error.startswith(error)
    assert bool(status.error) == bool(error)
    listed = CliRunner().invoke(cli, ["executions", "list"])
    assert f"  {state}  " in listed.output


def test_work_that_ends_while_it_is_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    What has ended since its record was read is listed as it ended, and not as lost.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    directory = tmp_path / "executions" / "quick"
    directory.mkdir(parents=True)
    record = {"name": "f", "started": 1.0, "pid": 1, "phase": "running"}
    (directory / "status.json").write_text(json.dumps(record))

    def end(directory: Path) -> bool:
        ended = {**record, "ended": True, "end": "returned"}
        (directory / "status.json").write_text(json.dumps(ended))
        return False

    monkeypatch.setattr(detached, "is_supervised", end)
    (status,) = LocalHost().executions()
    assert (status.phase, status.ended, status.end, status.error) == (
        "ended",
        True,
        "returned",
        "",
    )


def test_records_of_older_versions_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A record that does not say how its work has ended is read all the same.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    directory = tmp_path / "executions" / "old"
    directory.mkdir(parents=True)
    record = {"name": "f", "started": 1.0, "pid": 1, "phase": "running", "ended": True}
    (directory / "status.json").write_text(json.dumps(record))
    (status,) = LocalHost().executions()
    assert (status.phase, status.ended, status.end, status.error) == ("ended", True, None, "")
    assert "  ended  " in CliRunner().invoke(cli, ["executions", "list"]).output


KILLED = """
import os, sys
from fal_core import function
from fal_core.sealing import envelopes

@function("current")
def work():
    pass

envelopes.encode_call = lambda call: os.kill(os.getpid(), 9)
work.with_policy(lifetime="detached").spawn()
"""


def test_a_launch_that_was_killed_half_way_is_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """
    What a process had begun to launch when it was killed is not there, and nobody waits
    for it.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    result = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, timeout=60)
    assert result.returncode == -signal.SIGKILL, result.stderr
    (begun,) = (tmp_path / "executions").iterdir()
    assert not [*LocalHost().executions()]
    with pytest.raises(HostError, match="executions list"):
        attach("local", begun.name.rpartition("-")[2])


def test_an_unknown_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    Attaching to work that does not exist says how to list what does.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    for reference in ("nothing", "../nothing"):
        with pytest.raises(HostError, match="executions list"):
            attach("local", reference)
