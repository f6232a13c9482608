"""The records of detached work."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fal_core import HostError, attach, function
from fal_core.cli.program import cli
from fal_core_worker import trees
from fal_host_local import LocalHost
from fal_host_local.detached import records
from fal_host_local.detached.records import KEPT, connect, is_supervised, remove_old_records


def test_a_supervisor_that_starts_as_it_is_looked_for(tmp_path, monkeypatch):
    """A supervisor that starts to listen right after a failed connection is not taken for gone."""
    status = tmp_path / "status.json"
    status.write_text(json.dumps({"since": trees.now()}))

    def connect_just_before_it_listens(directory: Path) -> socket.socket:
        status.write_text(json.dumps({"since": trees.now(), "pid": os.getpid()}))
        raise ConnectionRefusedError

    monkeypatch.setattr(
        "fal_host_local.detached.records.connect", connect_just_before_it_listens
    )
    assert is_supervised(tmp_path)
    assert not is_supervised(tmp_path)


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
        (
            exit_at_once,
            {},
            "failed",
            "WorkerLost: Worker of 'exit_at_once' exited",
            "failed (WorkerLost)",
        ),
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
    """The listing distinguishes how the function ended from failures of its host."""
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
    """Work that ends after its record was read is listed as it ended, not as lost."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    directory = tmp_path / "executions" / "quick"
    directory.mkdir(parents=True)
    record = {"name": "f", "started": 1.0, "pid": 1, "phase": "running"}
    (directory / "status.json").write_text(json.dumps(record))

    def end(directory: Path) -> bool:
        ended = {**record, "ended": True, "end": "returned"}
        (directory / "status.json").write_text(json.dumps(ended))
        return False

    monkeypatch.setattr("fal_host_local.detached.records.is_supervised", end)
    (status,) = LocalHost().executions()
    assert (status.phase, status.ended, status.end, status.error) == (
        "ended",
        True,
        "returned",
        "",
    )


def test_records_of_older_versions_are_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """A record that does not say how its work has ended is read all the same."""
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


def test_an_interrupted_launch_leaves_no_work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """
    A launch that was interrupted by killing its process leaves no work that is listed or
    waited for.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    result = subprocess.run([sys.executable, "-c", KILLED], capture_output=True, timeout=60)
    assert result.returncode == -signal.SIGKILL, result.stderr
    (begun,) = (tmp_path / "executions").iterdir()
    assert not [*LocalHost().executions()]
    with pytest.raises(HostError, match="executions list"):
        attach("local", begun.name.rpartition("-")[2])


def test_an_unknown_reference_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Attaching to unknown work raises an error that says how to list detached work."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    for reference in ("nothing", "../nothing"):
        with pytest.raises(HostError, match="executions list"):
            attach("local", reference)


def make_record(root: Path, name: str, age: float) -> Path:
    """Make the record of work that ended *age* seconds ago."""
    directory = root / name
    directory.mkdir(parents=True)
    for file in ("journal", "status.json"):
        (directory / file).write_text("{}")
    for path in (directory / "journal", directory):
        os.utime(path, (time.time() - age,) * 2)
    return directory


def names_in(root: Path) -> set[str]:
    return {path.name for path in root.iterdir() if path.is_dir()}


def test_old_records_are_removed_once_in_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Records of work that ended long ago go, and no launch looks for more within the hour."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    root = tmp_path / "executions"
    remove_old_records()
    assert not root.exists()
    for name in ("one", ".begun-two"):
        make_record(root, name, KEPT + 60)
    # What an older version has removed in part.
    (make_record(root, "three", KEPT + 60) / "journal").unlink()
    os.utime(root / "three", (0, 0))
    make_record(root, "young", KEPT - 60)
    os.utime(root / "young", (0, 0))
    remove_old_records()
    assert names_in(root) == {"young"}

    make_record(root, "four", KEPT + 60)
    remove_old_records()
    assert names_in(root) == {"young", "four"}
    stamp = root / records._REMOVED
    assert stat.S_IMODE(stamp.stat().st_mode) == 0o600
    for last in (time.time() - records._PERIOD - 60, time.time() + 3600):
        os.utime(stamp, (last, last))
        remove_old_records()
        assert names_in(root) == {"young"}
        make_record(root, "five", KEPT + 60)


def test_many_old_records_go_with_several_launches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """One launch removes some of them, and the next goes on."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    monkeypatch.setattr(records, "_AT_ONCE", 3)
    root = tmp_path / "executions"
    for number in range(8):
        make_record(root, str(number), KEPT + 60)
    left = []
    for _ in range(3):
        remove_old_records()
        left.append(len(names_in(root)))
    assert left == [5, 2, 0]


def test_several_processes_remove_old_records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Those who remove the same records at once hinder nobody, and leave none."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    monkeypatch.setattr(records, "_PERIOD", 0.0)
    root = tmp_path / "executions"
    for number in range(80):
        make_record(root, str(number), KEPT + 60)
    with ThreadPoolExecutor(4) as threads:
        for each in [threads.submit(remove_old_records) for _ in range(4)]:
            each.result(60)
    assert names_in(root) == set()


def test_work_of_which_nothing_is_known_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Work is not taken for ended where this process has too many open files to ask."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    root = tmp_path / "executions"
    make_record(root, "old", KEPT + 60)

    def fail(directory: Path) -> socket.socket:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(records, "connect", fail)
    remove_old_records()
    assert names_in(root) == {"old"}


def test_work_is_kept_whose_supervisor_accepts_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever looks for a supervisor that has stopped does not wait for it."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    root = tmp_path / "executions"
    make_record(root, "old", KEPT + 60)
    monkeypatch.chdir(root / "old")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        server.listen(0)
        assert [records.is_supervised(root / "old") for _ in range(20)] == [True] * 20


def test_launch_without_a_place_for_records_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """A file in the place of the records is an error of the launch, not of their removal."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    (tmp_path / "executions").write_text("")
    remove_old_records()
    isolated = function("current")(give).with_policy(lifetime="detached")
    with pytest.raises(HostError, match="cannot be recorded"):
        isolated.spawn()


@pytest.mark.parametrize("length", [8, 200])
def test_supervisor_is_reached_however_long_its_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, length: int
):
    """A path that is too long for the address of a socket is shortened."""
    directory = tmp_path / ("d" * length)
    with pytest.raises(FileNotFoundError):
        connect(directory)
    directory.mkdir()
    with socket.socket(socket.AF_UNIX) as server:
        monkeypatch.chdir(directory)
        server.bind("socket")
        server.listen()
        connect(directory).close()
