"""Listing and removing what stores of directories keep."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from threading import Event

from fal_core.caches import try_lock, unlock
from fal_core.stores import Build, DirectoryStore


def fill(build: Build) -> None:
    """Build an entry of one file."""
    Path(build.directory, "file").write_bytes(bytes(10_000))


def put(store: DirectoryStore, key: str, summary: str = "") -> Path:
    """Build an entry that nothing uses."""
    path = store.find_or_build(key, fill, log=print, cancelled=Event(), summary=summary)
    store.release(key)
    return Path(path)


def test_entries_are_listed(store: DirectoryStore) -> None:
    """An entry is listed with its size, its times, its use and its summary."""
    assert store.entries() == []
    assert not Path(store.root).exists()
    path = put(store, "one", "a thing")
    put(store, "two")
    os.utime(path / ".fal-core-in-use", (1, 1))
    first, second = store.entries()
    assert (first.kind, first.key, first.path) == ("thing", "one", str(path))
    assert first.size >= 10_000
    assert first.summary == "a thing"
    assert first.last_used == 1
    assert time.time() - first.created < 600
    assert (first.in_use, first.fault) == (False, None)
    assert store.find("two") is not None
    assert [entry.in_use for entry in store.entries()] == [False, True]
    assert store.find("one") is not None
    assert store.entries()[0].last_used > 1
    assert second.summary == ""


def test_entry_in_use_is_not_removed(store: DirectoryStore) -> None:
    """An entry stays while a process has taken it, or another build of it runs."""
    path = put(store, "one")
    [entry] = store.entries()
    store.take("one")
    assert not store.remove(entry)
    store.release("one")
    lock = try_lock(store.lock_path("one"), shared=False, create=True)
    assert lock is not None
    assert not store.remove(entry)
    unlock(lock)
    assert path.exists()
    assert store.remove(entry)
    assert store.remove(entry)
    assert store.entries() == []
    assert not path.exists()
    assert os.listdir(os.path.join(store.root, "trash")) == []
    assert os.listdir(os.path.join(store.root, "locks")) == []


def test_running_program_keeps_its_entry(store: DirectoryStore) -> None:
    """A process that runs a program of an entry uses it, although it has taken nothing."""
    path = put(store, "one")
    program = path / "python"
    program.symlink_to(sys.executable)
    code = "print(flush=True); import sys; sys.stdin.readline()"
    process = subprocess.Popen(
        [program, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        process.stdout.readline()
        assert store.entries()[0].in_use
    finally:
        process.communicate(b"\n", timeout=60)
    assert not store.entries()[0].in_use


def test_leftovers_are_what_nobody_continues(store: DirectoryStore) -> None:
    """Trash and builds without a builder go; those whose key is locked stay."""
    put(store, "whole")
    root = Path(store.root)
    for name in ("building/left.12", "building/going.34", "trash/56"):
        (root / name).mkdir()
        (root / name / "file").write_bytes(bytes(10_000))
    (root / "notes").mkdir()
    (root / "answers.json").touch()
    lock = try_lock(store.lock_path("going"), shared=False, create=True)
    assert lock is not None
    assert store.leftovers(dry_run=True) >= 20_000
    assert (root / "trash/56").exists()
    assert store.leftovers(dry_run=False) >= 20_000
    assert [path.name for path in (root / "building").iterdir()] == ["going.34"]
    assert list((root / "trash").iterdir()) == []
    unlock(lock)
    assert store.leftovers(dry_run=False) >= 10_000
    assert store.leftovers(dry_run=False) == 0
    assert (root / "notes").exists()
    assert (root / "answers.json").exists()
    assert store.find_fault("whole") is None


def test_discarded_entry_is_gone(store: DirectoryStore) -> None:
    """An entry is removed with its contents; one that does not exist is no error."""
    path = put(store, "one")
    store.discard("one")
    store.discard("one")
    assert not path.exists()
    assert os.listdir(os.path.join(store.root, "trash")) == []


def test_removing_beside_builds_breaks_none(store: DirectoryStore) -> None:
    """A build returns an entry that exists, even if others are removed meanwhile."""
    stop = Event()

    def remove_all() -> None:
        while not stop.wait(0.002):  # As often as builds can meet it.
            store.leftovers(dry_run=False)
            for entry in store.entries():
                store.remove(entry)

    remover = threading.Thread(target=remove_all)
    remover.start()
    try:
        for number in range(40):
            path = store.find_or_build(
                "one", fill, log=print, cancelled=Event(), in_place=number % 2 == 0
            )
            assert (Path(path) / "file").exists()
            store.release("one")
    finally:
        stop.set()
        remover.join(60)
