"""Disks that are full or cannot be written."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from fal_core.environments import Interpreter
from fal_core.errors import EnvironmentBuildError
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import STORE

if TYPE_CHECKING:
    from conftest import Builder


pytestmark = pytest.mark.faults


@pytest.fixture
def mounted(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[str], Path]]:
    """Mount a file system in memory, and keep the cache there."""
    place = tmp_path / "mounted"
    place.mkdir()

    def mount(options: str) -> Path:
        command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode != 0:
            pytest.skip("file systems can be mounted by root alone")
        monkeypatch.setenv("FAL_CORE_CACHE", str(place / "cache"))
        return place

    yield mount
    STORE.release_all()
    subprocess.run(["umount", "-l", str(place)], capture_output=True, check=False)


def one_sentence(error: EnvironmentBuildError) -> str:
    reason = error.reason
    assert "\n" not in reason
    assert reason.endswith(".")
    return reason


def test_disk_that_is_full(build: Builder, mounted: Callable[[str], Path]) -> None:
    """A full disk is explained in one sentence, whether uv or this process meets it."""
    place = mounted("size=256k")
    with pytest.raises(EnvironmentBuildError, match="disk is full") as caught:
        build(Virtualenv(requirements=["heavy"]))
    one_sentence(caught.value)
    with suppress(OSError), open(place / "filler", "wb", buffering=0) as stream:
        while stream.write(bytes(4096)):
            pass
    with pytest.raises(EnvironmentBuildError, match="disk is full") as caught:
        build(Virtualenv(requirements=["gamma"]))
    one_sentence(caught.value)
    (place / "filler").unlink()
    build(Virtualenv(requirements=["gamma"]))


def test_cache_that_is_read_only(
    build: Builder, mounted: Callable[[str], Path], evaluate: Callable[[Interpreter, str], str]
) -> None:
    """A read-only cache serves the environments that are built, and an error for others."""
    place = mounted("size=16m")
    environment = Virtualenv(requirements=["gamma"])
    interpreter = build(environment)
    STORE.release_all()
    subprocess.run(["mount", "-o", "remount,ro", str(place)], check=True, timeout=60)
    assert build(environment) == interpreter
    with pytest.raises(EnvironmentBuildError, match="cannot be written") as caught:
        build(Virtualenv(requirements=["beta"]))
    assert "FAL_CORE_CACHE" in one_sentence(caught.value)


def test_cache_that_is_no_directory(
    build: Builder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If a file is where a directory must be, the error names the file."""
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentBuildError, match="A file is where") as caught:
        build(Virtualenv(requirements=["gamma"]))
    assert f"a directory: {tmp_path}/file. Remove it" in one_sentence(caught.value)


def test_cache_that_cannot_be_made_names_the_variable(
    build: Builder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the cache directory cannot be created, the error names the variable that moves it."""
    monkeypatch.setenv("FAL_CORE_CACHE", "/proc/nope")
    with pytest.raises(EnvironmentBuildError, match="FAL_CORE_CACHE") as caught:
        build(Virtualenv(requirements=["gamma"]))
    one_sentence(caught.value)
