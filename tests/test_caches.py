"""
Files that are written whole or not at all.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from fal_core.caches import new_file, remove_quietly, write_atomically, write_durably


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


@pytest.mark.parametrize("durable", [True, False])
def test_mode_and_content_are_as_asked(tmp_path: Path, *, durable: bool) -> None:
    """
    Only the owner reads a file of that mode, and bytes are written as they are.
    """
    path = tmp_path / "file"
    write_atomically(path, b"\xff\0", mode=0o600, durable=durable)
    assert path.read_bytes() == b"\xff\0"
    assert path.stat().st_mode & 0o777 == 0o600


def test_durable_write_replaces_the_content(tmp_path: Path) -> None:
    """
    A file that is written in place has the new content alone.
    """
    path = tmp_path / "file"
    path.write_text("a longer text")
    write_durably(path, "text")
    assert path.read_text() == "text"


def test_new_file_goes_unless_it_was_renamed(tmp_path: Path) -> None:
    """
    A file that nobody renamed is removed at the end.
    """
    path = tmp_path / "file"
    with new_file(path) as new:
        assert new.parent == tmp_path
        new.touch()
    assert list(tmp_path.iterdir()) == []
    with new_file(path) as new:
        new.touch()
        new.rename(path)
    assert list(tmp_path.iterdir()) == [path]
