"""Stores of files: what holds for a folder as for an object store."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
import s3_servers

from fal_server.state.file_stores import FileStore, FolderStore
from fal_server.state.opened_stores import open_files

#: More than is sent and fetched in one request.
LARGE = os.urandom(1 << 20) * 20


@pytest.fixture(params=["folder", "s3"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> FileStore:
    if request.param == "folder":
        return FolderStore(tmp_path / "files")
    request.getfixturevalue("s3")
    return open_files(f"s3://{s3_servers.BUCKET}/{uuid.uuid4().hex}", tmp_path)


def put(store: FileStore, name: str, content: bytes) -> None:
    place = store.place_of(f"{name}.new")
    place.write_bytes(content)
    store.put(place, name)
    assert not place.exists()


def read(store: FileStore, name: str, size: int, **where: int) -> bytes:
    return b"".join(store.pieces(name, size, **where))


def names(store: FileStore, folder: str = "", prefix: str = "") -> set[str]:
    return {each.name for each in store.find(folder, prefix)}


@pytest.mark.parametrize("content", [b"", b"some", LARGE], ids=len)
def test_file_is_read_as_it_was_put(store: FileStore, content: bytes):
    """A file is there as a whole under its name, and is read in pieces from any byte on."""
    assert not store.has("a/b/one")
    put(store, "a/b/one", content)
    assert store.has("a/b/one")
    assert read(store, "a/b/one", len(content)) == content
    for start in (0, 1, len(content) - 1, len(content)):
        if 0 <= start <= len(content):
            found = [*store.pieces("a/b/one", len(content), start=start, most=1 << 17)]
            assert b"".join(found) == content[start:]
            assert all(0 < len(piece) <= 1 << 17 for piece in found)


def test_file_is_replaced_as_a_whole(store: FileStore):
    """Another file that is put under a name replaces the one before."""
    for content in (b"first", b"second"):
        put(store, "one", content)
        assert read(store, "one", len(content)) == content
    assert names(store) == {"one"}


def test_files_are_found_by_the_beginnings_of_their_names(store: FileStore):
    """
    Files are found in a folder and in folders there, by how their names begin in it, with
    their sizes and times. A store below a folder has those alone.
    """
    before = time.time()
    for name in ("a/one", "a/other/two", "a/third", "b/one"):
        put(store, name, name.encode())
    assert names(store) == {"a/one", "a/other/two", "a/third", "b/one"}
    assert names(store, "a") == {"a/one", "a/other/two", "a/third"}
    assert names(store, "a", "o") == {"a/one", "a/other/two"}
    assert names(store, "a", "x") == names(store, "none") == set()
    below = store.below("a")
    assert names(below) == {"one", "other/two", "third"}
    put(below, "fourth", b"")
    assert store.has("a/fourth")
    [found] = store.find("b")
    assert found.size == 5
    # Object stores tell whole seconds.
    assert before - 2 <= found.modified <= time.time() + 2


def test_files_are_removed(store: FileStore):
    """A file that is removed is gone, alone or with all of its folder. None need be there."""
    for name in ("a/one", "a/two/three", "b", "ab"):
        put(store, name, b"some")
    store.remove("b")
    store.remove("b")
    store.remove_folder("a")
    store.remove_folder("a")
    assert names(store) == {"ab"}
    with pytest.raises(FileNotFoundError):
        read(store, "b", 4)


def test_old_file_alone_is_removed(store: FileStore):
    """A file is removed if it was put there before a time, and stays otherwise."""
    put(store, "one", b"some")
    store.remove_older("one", time.time() - 3600)
    store.remove_older("none", time.time() + 3600)
    assert read(store, "one", 4) == b"some"
    store.remove_older("one", time.time() + 3600)
    assert names(store) == set()


def test_file_that_is_too_short_is_told(store: FileStore):
    """A file with fewer bytes than it should have is an error."""
    put(store, "one", b"some")
    with pytest.raises(OSError, match="not complete"):
        read(store, "one", 5)


def test_new_file_stays_where_the_old_one_is_removed_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Whoever puts a file under a name just as another server removes the old one keeps it."""
    store = FolderStore(tmp_path)
    rename: Callable[..., Path] = Path.rename
    for moment in ("before", "after"):
        put(store, "one", b"old")
        os.utime(tmp_path / "one", (1, 1))

        def putting(path: Path, target: Path, moment: str = moment) -> Path:
            if moment == "before":
                put(store, "one", b"new")
            done = rename(path, target)
            if moment == "after":
                put(store, "one", b"new")
            return done

        with monkeypatch.context() as patched:
            patched.setattr(Path, "rename", putting)
            store.remove_older("one", time.time() - 3600)
        assert read(store, "one", 3) == b"new"
        assert names(store) == {"one"}
