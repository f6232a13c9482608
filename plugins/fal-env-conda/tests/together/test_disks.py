"""Disks that are full."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core.errors import EnvironmentBuildError
from fal_env_conda import Conda
from fal_env_conda.building.prefixes import PREFIXES

pytestmark = pytest.mark.faults


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("file systems can be mounted by root alone")
        return place

    yield mount
    PREFIXES.release_all()
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


@pytest.mark.parametrize("variable", ["FAL_CORE_CACHE", "RATTLER_CACHE_DIR"])
def test_disk_that_is_full(
    build: Any,
    channel: str,
    mounted: Callable[[str], Path],
    monkeypatch: pytest.MonkeyPatch,
    variable: str,
) -> None:
    """
    The error says so, whether prefixes or rattler's packages have no room; nothing of the
    prefix is left, and the next build works once there is some.
    """
    place = mounted("size=4m")
    monkeypatch.setenv(variable, str(place / "cache"))
    environment = Conda(packages=["alpha-one"], channels=[channel])
    with pytest.raises(EnvironmentBuildError, match="The disk is full") as caught:
        build(environment)
    assert variable in caught.value.reason
    assert not environment.is_built()
    assert not list(Path(PREFIXES.root).glob("*/conda-meta"))
    command = ["mount", "-o", "remount,size=200m", str(place)]
    subprocess.run(command, check=True)
    assert build(environment)
