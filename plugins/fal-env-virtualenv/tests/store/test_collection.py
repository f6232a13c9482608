"""
Garbage collection of environments.
"""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fal_core.testing.harness.processes import wait_until
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.collection import collect, discard, sweep
from fal_env_virtualenv.store.layout import make_directories, record_path
from fal_env_virtualenv.store.listing import list_environments

if TYPE_CHECKING:
    from conftest import Builder, Built, LetGo


def test_collection_removes_the_longest_unused(three: list[Built]) -> None:
    """
    The least recently used are removed first, until the rest fits.
    """
    sizes = {entry.key: entry.size for entry in list_environments()}
    oldest, middle, newest = (environment.key for environment, _ in three)
    limit = sizes[newest]
    planned = collect(limit, dry_run=True)
    assert [entry.key for entry in planned.entries] == [oldest, middle]
    assert len(list_environments()) == 3
    assert collect(limit) == planned
    assert [entry.key for entry in list_environments()] == [newest]
    assert planned.kept == limit
    assert not three[0][0].is_built()
    assert three[2][0].is_built()


def test_collection_keeps_environments_in_use(
    three: list[Built], build: Builder, let_go: LetGo
) -> None:
    """
    An environment stays while a process has taken it, or runs its Python.
    """
    taken, running, free = three
    build(taken[0])
    # Ends by being killed.
    process = subprocess.Popen(
        running[1].command(["-c", "import time; time.sleep(600)"]).argv, start_new_session=True
    )
    commands = Path(f"/proc/{process.pid}/cmdline")
    try:
        assert wait_until(lambda: running[1].executable in commands.read_text(), 60)
        assert [entry.key for entry in collect(0).entries] == [free[0].key]
        assert taken[0].is_built()
        assert running[0].is_built()
    finally:
        process.kill()
        process.wait()
    let_go(taken[1])
    assert len(collect(0).entries) == 2


def test_collection_takes_leftovers(three: list[Built], cache: Path) -> None:
    """
    Unfinished builds, trash, and environments that are damaged or without record go too.
    """
    damaged, forgotten, whole = three
    os.unlink(damaged[1].executable)
    os.unlink(record_path(forgotten[0].key))
    (cache / "building" / "key.1234").mkdir()
    (cache / "trash" / "1234").mkdir()
    (cache / "pythons.json").touch()
    removal = collect(1 << 40)
    assert [entry.key for entry in removal.entries] == [damaged[0].key]
    assert removal.freed > 0
    assert not Path(forgotten[1].executable).parent.exists()
    assert list((cache / "building").iterdir()) == list((cache / "trash").iterdir()) == []
    assert whole[0].is_built()
    assert (cache / "pythons.json").exists()


def test_collection_beside_builds_breaks_none(build: Builder, let_go: LetGo) -> None:
    """
    A build returns an environment that exists, even if others are collected meanwhile.
    """
    stop = threading.Event()

    def collect_all() -> None:
        while not stop.wait(0.005):  # As often as builds can meet it.
            collect(0)

    collector = threading.Thread(target=collect_all)
    collector.start()
    try:
        for _ in range(10):
            interpreter = build(Virtualenv(requirements=["gamma"]))
            assert os.path.exists(interpreter.executable)
            let_go(interpreter)
    finally:
        stop.set()
        collector.join(60)


def test_discarded_directory_is_gone(cache: Path) -> None:
    """
    A directory is removed with its contents; one that does not exist is no error.
    """
    directory = cache / "environment"
    (directory / "bin").mkdir(parents=True)
    discard(str(directory))
    discard(str(directory))
    assert not directory.exists()
    assert list((cache / "trash").iterdir()) == []


def test_sweep_removes_leftovers_of_one_key(cache: Path) -> None:
    """
    Builds of other keys may be running, so their files stay.
    """
    make_directories()
    for name in ("building/mine.12", "building/mine.34", "building/other.12", "trash/56"):
        (cache / name).mkdir()
    sweep("mine")
    assert [path.name for path in (cache / "building").iterdir()] == ["other.12"]
    assert list((cache / "trash").iterdir()) == []
