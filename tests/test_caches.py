"""Files that are written whole or not at all, and lock files."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fal_core.caches import (
    is_descriptor_of,
    is_locked,
    leave_to_children,
    new_file,
    remove_quietly,
    try_lock,
    unlock,
    write_atomically,
    write_durably,
)


def test_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """A write replaces the file, and leaves no temporary file beside it."""
    path = tmp_path / "file"
    write_atomically(str(path), "one")
    inode = path.stat().st_ino
    with path.open() as before:
        write_atomically(str(path), "two")
        assert before.read() == "one"
    assert path.read_text() == "two"
    assert path.stat().st_ino != inode
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_leaves_nothing(tmp_path: Path) -> None:
    """If the file cannot be replaced, the temporary file is removed."""
    (tmp_path / "directory" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(str(tmp_path / "directory"), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_removing_what_does_not_exist(tmp_path: Path) -> None:
    """A file that does not exist, or cannot be removed, is no error."""
    remove_quietly(str(tmp_path / "nowhere"))
    remove_quietly(str(tmp_path))
    assert tmp_path.is_dir()


@pytest.mark.parametrize("durable", [True, False])
def test_mode_and_content_are_as_asked(tmp_path: Path, *, durable: bool) -> None:
    """Only the owner reads a file of that mode, and bytes are written as they are."""
    path = tmp_path / "file"
    write_atomically(path, b"\xff\0", mode=0o600, durable=durable)
    assert path.read_bytes() == b"\xff\0"
    assert path.stat().st_mode & 0o777 == 0o600


def test_durable_write_replaces_the_content(tmp_path: Path) -> None:
    """A file that is written in place has the new content alone."""
    path = tmp_path / "file"
    path.write_text("a longer text")
    write_durably(path, "text")
    assert path.read_text() == "text"


def test_new_file_goes_unless_it_was_renamed(tmp_path: Path) -> None:
    """A new file that was not renamed is removed at the end."""
    path = tmp_path / "file"
    with new_file(path) as new:
        Path(new).touch()
        assert Path(new).parent == tmp_path
    assert list(tmp_path.iterdir()) == []
    with new_file(path) as new:
        Path(new).touch()
        os.rename(new, path)
    assert list(tmp_path.iterdir()) == [path]


def test_exclusive_lock_has_one_holder(tmp_path: Path) -> None:
    """A lock can be taken again once it has been released."""
    path = str(tmp_path / "lock")
    assert not is_locked(path)
    held = try_lock(path, shared=False, create=True)
    assert held is not None
    assert is_locked(path)
    assert try_lock(path, shared=True) is None
    unlock(held)
    assert not is_locked(path)


def test_shared_lock_has_many_holders(tmp_path: Path) -> None:
    """A lock that is shared is locked until the last holder releases it."""
    path = str(tmp_path / "lock")
    first = try_lock(path, shared=True, create=True)
    second = try_lock(path, shared=True)
    assert first is not None
    assert second is not None
    unlock(first)
    assert is_locked(path)
    unlock(second)
    assert not is_locked(path)


def test_lock_of_a_removed_file_does_not_count(tmp_path: Path) -> None:
    """A lock counts as long as its file is at its path."""
    path = tmp_path / "lock"
    held = try_lock(str(path), shared=False, create=True)
    assert held is not None
    assert is_descriptor_of(held, str(path))
    path.unlink()
    assert not is_descriptor_of(held, str(path))
    with pytest.raises(FileNotFoundError):
        try_lock(str(path), shared=False)
    other = try_lock(str(path), shared=False, create=True)
    assert other is not None
    assert not is_descriptor_of(held, str(path))
    unlock(held)
    unlock(other)


def test_least_descriptor(tmp_path: Path) -> None:
    """A descriptor is as high as it is asked to be."""
    held = try_lock(str(tmp_path / "lock"), shared=False, create=True, least=50)
    assert held is not None
    assert held >= 50
    unlock(held)


def test_children_hold_a_lock_that_was_left_to_them(tmp_path: Path) -> None:
    """A lock that is left to a child process is released when the child ends."""
    path = str(tmp_path / "lock")
    held = try_lock(path, shared=False, create=True)
    assert held is not None
    command = [sys.executable, "-c", "input()"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[held])
    leave_to_children(held)
    try:
        assert is_locked(path)
    finally:
        process.communicate(b"\n", timeout=60)
    assert not is_locked(path)
