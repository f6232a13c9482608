"""
Files are written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_env_virtualenv.store.writes import remove_quietly, write_atomically


def test_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """
    A write replaces the file, and leaves no temporary file beside it.
    """
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
    """
    If the file cannot be replaced, the temporary file is removed.
    """
    (tmp_path / "directory" / "inside").mkdir(parents=True)
    with pytest.raises(OSError, match="directory"):
        write_atomically(str(tmp_path / "directory"), "text")
    assert [path.name for path in tmp_path.iterdir()] == ["directory"]


def test_removing_what_does_not_exist(tmp_path: Path) -> None:
    """
    A file that does not exist, or cannot be removed, is no error.
    """
    remove_quietly(str(tmp_path / "nowhere"))
    remove_quietly(str(tmp_path))
    assert tmp_path.is_dir()
