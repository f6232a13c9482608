"""
Leftovers of builds in uv's cache.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fal_core.errors import Cancelled
from fal_core.testing.harness.processes import wait_until
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.collection import collect

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
    """
    The directory in which uv builds a project goes with the build that is cancelled.
    """
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


def test_collection_removes_leftovers_of_killed_builds_from_the_uv_cache(
    cache: Path, tmp_path: Path, monkeypatch: Any
) -> None:
    """
    The directory of a build that has long not changed is removed, unless some uv runs.
    """
    monkeypatch.setenv("UV_CACHE_DIR", str(tmp_path / "uv"))
    old, new = (tmp_path / "uv" / "builds-v0" / name for name in (".tmpOLD", ".tmpNEW"))
    for place in (old, new):
        place.mkdir(parents=True)
        (place / "file").write_bytes(bytes(10_000))
    os.utime(old, (0, 0))
    busy = tmp_path / "uv-program"
    (busy / "bin").mkdir(parents=True)
    (busy / "bin" / "uv").symlink_to("/bin/sleep")
    process = subprocess.Popen([busy / "bin" / "uv", "600"])
    try:
        assert wait_until(
            lambda: b"uv" in Path(f"/proc/{process.pid}/cmdline").read_bytes(), 60
        )
        assert collect(1 << 40).freed == 0
        assert old.exists()
    finally:
        process.kill()
        process.wait()
    # Other programs of this machine may run uv as well, for a while.
    assert wait_until(lambda: collect(1 << 40, dry_run=True).freed >= 10_000, 120)
    assert old.exists()
    assert wait_until(lambda: collect(1 << 40).freed >= 10_000 or not old.exists(), 120)
    assert not old.exists()
    assert new.exists()
