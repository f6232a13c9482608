"""Directories, their sizes, and errors of file systems as sentences."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from fal_core.stores import describe_disk_error, disk_usage, list_directory


def test_missing_directory_is_empty(tmp_path: Path) -> None:
    """A directory that does not exist has no names, and takes no space."""
    (tmp_path / "file").write_bytes(b"x" * 10_000)
    assert list_directory(str(tmp_path)) == ["file"]
    assert disk_usage(str(tmp_path)) >= 10_000
    assert list_directory(str(tmp_path / "nowhere")) == []
    assert disk_usage(str(tmp_path / "nowhere")) == 0


@pytest.mark.parametrize(
    ("number", "says"),
    [
        (errno.ENOSPC, "The disk is full: /cache/things/one could not be written. Free"),
        (errno.EROFS, "The cache directory cannot be written: /cache/things/one (Read-only"),
        (errno.EACCES, "Set the variable FAL_CORE_CACHE"),
        (errno.ENOTDIR, "A file is where the cache directory needs a directory: /."),
        (errno.EIO, "Input/output error: /cache/things/one."),
    ],
)
def test_errors_say_what_to_do(number: int, says: str) -> None:
    """An error is one sentence or two: what failed with which file, and what to do."""
    error = OSError(number, os.strerror(number), "/cache/things/one")
    assert says in describe_disk_error(error)
    assert "\n" not in describe_disk_error(error)


def test_cache_that_cannot_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """If the cache directory cannot be created, the variable that moves it is named."""
    monkeypatch.setenv("FAL_CORE_CACHE", "/proc/nope")
    with pytest.raises(OSError, match="No such file") as caught:
        Path("/proc/nope").mkdir()
    assert "FAL_CORE_CACHE" in describe_disk_error(caught.value)
    with pytest.raises(OSError, match="No such file") as caught:
        Path("/proc/other").mkdir()
    assert "FAL_CORE_CACHE" not in describe_disk_error(caught.value)
