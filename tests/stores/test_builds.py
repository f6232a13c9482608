"""Builds: one at a time, and nothing remains of one that does not finish."""

from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING

import pytest

from fal_core.caches import is_locked
from fal_core.errors import Cancelled, EnvironmentBuildError
from fal_core.events import Log
from fal_core.stores import Build, DirectoryStore, builds, locked
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import Start


def fill(build: Build) -> None:
    """Build an entry of one file."""
    Path(build.directory, "file").write_text(build.key)


def names_below(store: DirectoryStore) -> list[str]:
    """Return the names of what lies in *store*, but for its locks."""
    found: list[str] = []
    # A walk passes over what is removed meanwhile.
    for folder, folders, files in os.walk(store.root):
        if os.path.basename(folder) != "locks":
            found += folders + files
    return sorted({*found} - {"locks", "trash", "building"})


def test_waiting_for_a_lock_can_be_cancelled(tmp_path: Path) -> None:
    """Waiting is announced once, and ends when it is cancelled."""
    path = str(tmp_path / "lock")
    cancelled = Event()
    with (
        locked(path, cancelled, pytest.fail),
        pytest.raises(Cancelled),
        locked(path, cancelled, cancelled.set),
    ):
        pytest.fail("the lock has two holders")
    assert not is_locked(path)


RACE = """
    built = []

    def build_one(opened):
        build(opened)
        built.append(opened.key)

    def find():
        barrier.wait()
        cancelled = threading.Event()
        store.find_or_build("one", build_one, log=lambda line: None, cancelled=cancelled)

    barrier = threading.Barrier(8)
    threads = [threading.Thread(target=find) for _ in range(8)]
    print("ready", flush=True)
    sys.stdin.readline()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    print(len(built), flush=True)
"""


@pytest.mark.faults
@pytest.mark.usefixtures("store")
def test_racing_builders_build_once(start: Start) -> None:
    """What many threads of four processes request at once is built by one of them."""
    processes = [start(RACE) for _ in range(4)]
    for process in processes:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    built = [int(process.communicate(timeout=120)[0]) for process in processes]
    assert sorted(built) == [0, 0, 0, 1]


def test_waiting_builder_says_so_once(store: DirectoryStore) -> None:
    """Who waits for another build is told in one line, and gets what it has built."""
    began, go_on = Event(), Event()
    lines: list[Log] = []

    def slow(build: Build) -> None:
        began.set()
        assert go_on.wait(60)
        fill(build)

    def first() -> None:
        store.find_or_build(
            "one", slow, log=lambda line: pytest.fail(line.message), cancelled=Event()
        )

    def hear(line: Log) -> None:
        lines.append(line)
        go_on.set()

    builder = threading.Thread(target=first)
    builder.start()
    assert began.wait(60)
    path = store.find_or_build(
        "one", lambda build: pytest.fail(build.key), log=hear, cancelled=Event()
    )
    builder.join(60)
    assert Path(path, "file").read_text() == "one"
    assert [line.message for line in lines] == ["Waiting for another build of this environment"]
    assert lines[0].source == "BUILDER"


def test_cache_that_is_emptied_during_a_build(store: DirectoryStore) -> None:
    """The error is that of the build, and nothing is waited for as the program ends."""

    def fail(build: Build) -> None:
        shutil.rmtree(store.root)
        raise EnvironmentBuildError("kind", "its files are gone")

    with pytest.raises(EnvironmentBuildError, match="its files are gone"):
        store.find_or_build("one", fail, log=print, cancelled=Event(), in_place=True)
    assert not any(store.root in path for path in builds._open)
    path = store.find_or_build("one", fill, log=print, cancelled=Event(), in_place=True)
    assert Path(path, "file").read_text() == "one"


@pytest.mark.parametrize("in_place", [False, True])
def test_nothing_remains_of_a_build_that_fails(store: DirectoryStore, in_place: bool) -> None:
    """The directory of a build that fails or is cancelled is removed."""

    def fail(build: Build) -> None:
        fill(build)
        raise LookupError("no such thing")

    def cancel(build: Build) -> None:
        fill(build)
        build.cancelled.set()

    with pytest.raises(LookupError):
        store.find_or_build("one", fail, log=print, cancelled=Event(), in_place=in_place)
    assert names_below(store) == []
    with pytest.raises(Cancelled):
        store.find_or_build("one", cancel, log=print, cancelled=Event(), in_place=in_place)
    assert store.find("one") is None
    assert wait_until(lambda: names_below(store) == [], 60)


KILLED = """
    def stop(opened):
        build(opened)
        print("begun", flush=True)
        sys.stdin.readline()

    store.find_or_build(
        "one", stop, log=say, cancelled=threading.Event(), in_place=sys.argv[1] == "in place"
    )
"""


@pytest.mark.faults
@pytest.mark.parametrize("place", ["in place", "elsewhere"])
@pytest.mark.parametrize("cleaner", ["the next builder", "a look for leftovers"])
def test_killed_build_is_swept(
    store: DirectoryStore, start: Start, place: str, cleaner: str
) -> None:
    """
    A build that was killed is no entry, and the next builder or a look for leftovers removes
    what it left behind, but not while it runs.
    """
    process = start(KILLED, place)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    assert store.find("one") is None
    assert store.entries() == []
    assert store.leftovers(dry_run=False) == 0
    assert "built" in names_below(store)
    process.kill()
    process.wait()
    assert store.find("one") is None
    if cleaner == "the next builder":
        in_place = place == "in place"
        path = store.find_or_build("one", fill, log=print, cancelled=Event(), in_place=in_place)
        assert sorted(os.listdir(path)) == [
            ".fal-core-complete",
            ".fal-core-in-use",
            "file",
        ]
        assert "built" not in names_below(store)
    else:
        assert store.leftovers(dry_run=True) > 0
        assert "built" in names_below(store)
        assert store.leftovers(dry_run=False) > 0
        assert names_below(store) == []


ENDING = """
    def stop(opened):
        build(opened)
        print("begun", flush=True)
        from fal_core.stores import exiting
        exiting.wait()

    threading.excepthook = lambda _: None
    threading.Thread(
        target=store.find_or_build,
        args=("one", stop),
        kwargs={"log": say, "cancelled": threading.Event()},
        daemon=True,
    ).start()
    sys.stdin.readline()
"""


@pytest.mark.faults
def test_process_that_ends_ends_its_builds(store: DirectoryStore, start: Start) -> None:
    """
    A build sees that its process ends, and what it leaves is removed before the process has
    ended.
    """
    process = start(ENDING)
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    process.communicate("end\n", timeout=60)
    assert process.returncode == 0
    assert os.listdir(os.path.join(store.root, "building")) == []


def test_entry_may_have_another_name_than_its_key(store: DirectoryStore) -> None:
    """A build names what it has made, as by a digest of its content."""
    with (
        store.building("one", log=print, cancelled=Event()),
        store.open_build("one", cancelled=Event()) as build,
    ):
        fill(build)
        Path(build.workspace, "notes").write_text("of the build alone")
        build.summary = "one\n thing"
        build.details["python"] = ["3.11", None]
        path = build.finish(name="digest")
    assert path == store.path("digest")
    assert store.find("digest") == path
    [entry] = store.entries()
    assert (entry.summary, entry.details) == ("one thing", {"python": ["3.11", None]})
    assert store.read_details("digest") == entry.details
    assert store.read_details("one") == {}
    # A marker of the name alone is enough.
    Path(path, ".fal-core-complete").write_text("digest")
    assert store.find_fault("digest") is None
    assert (store.read_summary("digest"), store.read_details("digest")) == ("", {})
    assert os.listdir(os.path.join(store.root, "building")) == []
