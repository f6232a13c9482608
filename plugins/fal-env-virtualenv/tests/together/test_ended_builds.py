"""The child processes of a build end with it."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_core.errors import Cancelled
from fal_env_virtualenv import Virtualenv
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import ProcessesBelow, Project


pytestmark = pytest.mark.faults


def test_cancel_ends_the_builder_at_once(
    cache: Path, project: Project, started: Path, processes_below: ProcessesBelow
) -> None:
    """A cancelled build ends with all its child processes, which would run for minutes."""
    environment = Virtualenv(requirements=[str(project.path)])
    cancelled = threading.Event()
    ended = threading.Event()

    def run() -> None:
        with pytest.raises(Cancelled):
            environment.build(lambda line: None, cancelled)
        ended.set()

    builder = threading.Thread(target=run)
    builder.start()
    assert wait_until(started.exists, 60)
    assert processes_below(cache)
    cancelled.set()
    assert ended.wait(60)
    builder.join()
    assert wait_until(lambda: not processes_below(cache), 60)
    assert wait_until(lambda: not list((cache / "building").iterdir()), 60)
    assert not environment.is_built()


def test_builder_ends_with_its_killed_client(
    cache: Path,
    project: Project,
    started: Path,
    run_python: Callable[..., subprocess.Popen[str]],
    processes_below: ProcessesBelow,
) -> None:
    """Neither uv nor its child processes outlive a client that is killed."""
    script = """
        import sys, threading
        from fal_env_virtualenv import Virtualenv

        environment = Virtualenv(requirements=[sys.argv[1]])
        environment.build(lambda line: None, threading.Event())
    """
    process = run_python(script, str(project.path))
    assert wait_until(started.exists, 60)
    assert len(processes_below(project.path)) > 1
    process.kill()
    process.communicate(timeout=60)
    assert wait_until(lambda: not processes_below(project.path) + processes_below(cache), 60)
