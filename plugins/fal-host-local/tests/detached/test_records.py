"""
The records of detached work.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from fal_core import HostError, attach, function
from fal_core.cli.program import cli
from fal_core_worker import trees
from fal_host_local import LocalHost
from fal_host_local.detached.records import is_supervised


def test_a_supervisor_that_starts_as_it_is_looked_for(tmp_path, monkeypatch):
    """
    A supervisor that starts to listen right after a failed connection is not taken for gone.
    """
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
    The listing distinguishes how the function ended from failures of its host.
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
    Work that ends after its record was read is listed as it ended, not as lost.
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

    monkeypatch.setattr("fal_host_local.detached.records.is_supervised", end)
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
    """
    Attaching to unknown work raises an error that says how to list detached work.
    """
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path))
    for reference in ("nothing", "../nothing"):
        with pytest.raises(HostError, match="executions list"):
            attach("local", reference)
