"""Stores of directories: finding and taking what was built."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fal_core.errors import EnvironmentBuildError, HostError
from fal_core.events import Log
from fal_core.stores import Build, DirectoryStore

if TYPE_CHECKING:
    from conftest import Start


def fill(build: Build) -> None:
    """Build an entry of one file."""
    Path(build.directory, "file").write_text(build.key)


def put(store: DirectoryStore, key: str, **options: str | bool) -> Path:
    """Build an entry of *key*, and return its path."""
    lines: list[Log] = []
    path = store.find_or_build(
        key,
        fill,
        log=lines.append,
        cancelled=Event(),
        **options,  # type: ignore[arg-type]  # two of them
    )
    return Path(path)


@pytest.mark.parametrize("in_place", [False, True])
def test_entry_is_built_once(store: DirectoryStore, in_place: bool) -> None:
    """What was built is found again, and nothing of its build remains."""
    path = put(store, "one", in_place=in_place)
    assert path == Path(store.path("one"))
    (path / "file").write_text("kept")
    assert put(store, "one", in_place=in_place) == path
    assert (path / "file").read_text() == "kept"
    assert store.find("one") == str(path)
    assert store.find_fault("one") is None
    assert sorted(each.name for each in path.iterdir()) == [
        ".fal-core-complete",
        ".fal-core-in-use",
        "file",
    ]
    for place in ("building", "trash"):
        assert os.listdir(os.path.join(store.root, place)) == []


def test_faults_of_entries(store: DirectoryStore) -> None:
    """An entry without its marker, or with that of another, is not found and built again."""
    assert store.find("one") is None
    assert store.find_fault("one") == "its directory is gone"
    path = put(store, "one")
    (path / ".fal-core-complete").unlink()
    assert store.find_fault("one") == "its build never finished"
    assert store.find("one") is None
    assert put(store, "one") == path
    (path / ".fal-core-complete").write_text("two")
    assert store.find_fault("one") == "its marker names another one"
    (path / ".fal-core-complete").unlink()
    (path / ".fal-core-complete").mkdir()
    assert "cannot be read" in str(store.find_fault("one"))
    put(store, "one")
    assert store.find_fault("one") is None


def test_entry_is_in_use_while_a_process_has_taken_it(store: DirectoryStore) -> None:
    """An entry is taken by whoever finds it, and until it is released."""
    path = put(store, "one")
    assert store.is_in_use("one", [])
    store.release("one")
    assert not store.is_in_use("one", [])
    assert store.is_in_use("one", [os.fsencode(path / "bin" / "program") + b"\0argument"])
    assert not store.is_in_use("one", [os.fsencode(f"{path}2/bin/program")])
    assert store.take("one")
    assert store.is_in_use("one", [])
    store.release_all()
    assert not store.is_in_use("one", [])
    assert not store.take("two")


@pytest.mark.faults
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_child_of_a_fork_leaves_the_marks_to_its_parent(store: DirectoryStore) -> None:
    """A forked child does not hold what its parent has taken."""
    put(store, "one")
    child = os.fork()
    if child == 0:
        signal.pause()
    try:
        store.release("one")
        assert not store.is_in_use("one", [])
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_mark_ends_with_its_process(store: DirectoryStore, start: Start) -> None:
    """An entry is in use while the process that found it lives, and free once it is killed."""
    put(store, "one")
    store.release("one")
    process = start("print(store.find('one'), flush=True); sys.stdin.readline()")
    assert process.stdout is not None
    assert process.stdout.readline().strip() == store.path("one")
    assert store.is_in_use("one", [])
    process.kill()
    process.wait()
    assert not store.is_in_use("one", [])


@pytest.mark.skipif(os.geteuid() != 0, reason="Only root makes directories of other users.")
def test_store_of_another_user_is_refused(store: DirectoryStore) -> None:
    """A store that somebody else could change is refused before anything is built."""
    place = Path(store.root)
    place.mkdir(parents=True)
    os.chown(place, 54321, 54321)
    with pytest.raises(HostError, match="belongs to the user with"):
        put(store, "one")
    os.chown(place, 0, 0)
    put(store, "one")


def test_errors_of_the_file_system_are_errors_of_the_build(
    store: DirectoryStore, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A build that cannot write says so in one sentence, with the kind of environment."""

    def missing(build: Build) -> None:
        Path(build.directory, "no", "such", "file").write_text("")

    with pytest.raises(EnvironmentBuildError, match="No such file or directory") as caught:
        store.find_or_build("one", missing, log=print, cancelled=Event())
    assert caught.value.kind == "thing"
    (tmp_path / "file").touch()
    monkeypatch.setenv("FAL_CORE_CACHE", str(tmp_path / "file" / "cache"))
    with pytest.raises(EnvironmentBuildError, match="A file is where the cache directory"):
        put(store, "one")
