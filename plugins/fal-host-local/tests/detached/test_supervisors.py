"""
The processes that run detached work.
"""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_core import WorkerLost, attach
from fal_core.testing.harness.processes import is_alive, wait_until
from fal_host_local import LocalHost


def test_a_killed_supervisor_is_reported(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """
    Work ends with its killed supervisor, and attaching to it raises an error that says so.
    """
    reference, pid = launch(600)
    os.kill(supervisor_of(reference), signal.SIGKILL)

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
def test_a_supervisor_ends_where_nothing_can_be_written(
    launch, tmp_path: Path, supervisor_of: Callable[[str], int]
):
    """
    Work whose directory was removed ends as any other, and its supervisor with it.
    """
    reference, pid = launch(20)
    supervisor = supervisor_of(reference)
    directory = tmp_path / "cache" / "executions" / reference

    def is_removed() -> bool:
        # Its supervisor may write there meanwhile.
        shutil.rmtree(directory, ignore_errors=True)
        return not directory.exists()

    assert wait_until(is_removed, 30)
    assert wait_until(lambda: not is_alive(pid), 60)
    assert wait_until(lambda: not is_alive(supervisor), 60)
