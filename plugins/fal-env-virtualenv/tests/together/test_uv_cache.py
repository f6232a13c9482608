"""Leftovers of builds in uv's cache."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fal_core.errors import Cancelled
from fal_env_virtualenv import Virtualenv
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import BuildsIn, Project


pytestmark = pytest.mark.faults


def test_cancelled_build_leaves_nothing_in_the_cache_of_uv(
    cache: Path,
    project: Project,
    started: Path,
    tmp_path: Path,
    monkeypatch: Any,
    builds_in: BuildsIn,
) -> None:
    """The directory in which uv builds a project goes with the build that is cancelled."""
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    environment = Virtualenv(requirements=[str(project.path)])
    cancelled = threading.Event()

    def cancel() -> None:
        assert wait_until(started.exists, 60)
        assert builds_in(tmp_path / "uv")
        cancelled.set()

    canceller = threading.Thread(target=cancel)
    canceller.start()
    with pytest.raises(Cancelled):
        environment.build(lambda line: None, cancelled)
    canceller.join()
    assert builds_in(tmp_path / "uv") == []
