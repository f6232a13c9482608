"""Sizes that are measured once."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Event

import pytest

from fal_core.stores import DirectoryStore, children_usage, disk_usage, entry_usage
from fal_core.stores.places import IN_USE, SIZE

#: Seconds since the epoch, of a time that is over.
LONG_AGO = 1_000_000_000.0


def grow(path: Path, size: int = 50_000) -> None:
    path.write_bytes(bytes([7]) * size)


def test_an_entry_is_measured_once_after_each_use(store: DirectoryStore) -> None:
    """What is listed again has the size that was measured, until somebody has used it."""
    path = Path(
        store.find_or_build(
            "one",
            lambda build: grow(Path(build.directory, "file")),
            log=lambda line: None,
            cancelled=Event(),
        )
    )
    store.release_all()
    os.utime(path / IN_USE, (LONG_AGO, LONG_AGO))
    [first] = store.entries()
    assert first.size >= 50_000
    # No walk sees this one.
    grow(path / "unseen")
    assert [each.size for each in store.entries()] == [first.size]
    assert store.find("one") == str(path)
    assert store.entries()[0].size >= first.size + 50_000
    store.release_all()
    os.utime(path / SIZE, (LONG_AGO, LONG_AGO))
    assert store.entries()[0].size >= first.size + 50_000


def test_an_entry_in_use_is_measured_each_time(tmp_path: Path) -> None:
    """A program that runs in it may write there, so nothing is kept."""
    grow(tmp_path / "file")
    assert entry_usage(str(tmp_path), last_used=LONG_AGO, in_use=True) >= 50_000
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("content", ["", "many", "-"])
def test_a_size_that_cannot_be_read_is_measured(tmp_path: Path, content: str) -> None:
    """What a full disk has left of it does not matter."""
    grow(tmp_path / "file")
    (tmp_path / SIZE).write_text(content)
    assert entry_usage(str(tmp_path), last_used=LONG_AGO, in_use=False) >= 50_000
    assert int((tmp_path / SIZE).read_text()) >= 50_000


def test_an_entry_that_is_gone_has_no_size(tmp_path: Path) -> None:
    """Nothing is made in its place."""
    assert entry_usage(str(tmp_path / "gone"), last_used=LONG_AGO, in_use=False) == 0
    assert not (tmp_path / "gone").exists()


def test_directories_of_a_cache_are_measured_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that has settled is not read again until it changes itself."""
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "archive"
    for name in ("old", "new"):
        (folder / name / "inner").mkdir(parents=True)
        grow(folder / name / "inner" / "file")
    grow(folder / "beside")
    os.utime(folder / "old", (LONG_AGO, LONG_AGO))
    before = children_usage(str(folder))
    assert before == disk_usage(str(folder))
    for name in ("old", "new"):
        grow(folder / name / "inner" / "unseen")
    after = children_usage(str(folder))
    # The new one may still be filled.
    assert before + 50_000 <= after < before + 100_000
    os.utime(folder / "old")
    assert children_usage(str(folder)) == disk_usage(str(folder))
    assert children_usage(str(tmp_path / "nowhere")) == 0


def test_a_cache_that_cannot_be_written_is_measured_each_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a place for what is kept, sizes are right all the same."""
    (tmp_path / "file").write_text("where a directory would be")
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "cache"))
    (tmp_path / "archive" / "old").mkdir(parents=True)
    grow(tmp_path / "archive" / "old" / "file")
    os.utime(tmp_path / "archive" / "old", (LONG_AGO, LONG_AGO))
    folder = str(tmp_path / "archive")
    assert children_usage(folder) == children_usage(folder) == disk_usage(folder)
