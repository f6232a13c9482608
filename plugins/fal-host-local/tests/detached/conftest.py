"""Fixtures of the tests of detached work."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fal_testing.harness.processes import wait_until

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
        # It is still at work when its launcher is killed.
        time.sleep(0.1)
    return {"steps": steps}

info = work.with_policy(lifetime="detached").spawn(sys.argv[1], int(sys.argv[2]))
print(info.reference, flush=True)
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Launch detached work from a process that is then killed; return its reference."""
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


@pytest.fixture
def supervisor_of(tmp_path: Path) -> Callable[[str], int]:
    """Finds the process that supervises the work of a reference."""

    def find(reference: str) -> int:
        status = tmp_path / "cache" / "executions" / reference / "status.json"
        return int(json.loads(status.read_text())["pid"])

    return find
