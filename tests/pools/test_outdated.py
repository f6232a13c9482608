"""Workers that have imported local modules which were edited since."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import function
from fal_core.caches import write_atomically
from fal_host_local import LocalHost
from fal_testing.harness.processes import is_alive, wait_until

HELPER, TASKS = "outdated_helper", "outdated_tasks"

SOURCE = f"""
import os, time

def read():
    import {HELPER}
    return {HELPER}.value, os.getpid()

def read_late(begun, edited):
    import {HELPER}
    open(begun, "w").close()
    # Until the test has edited the module.
    while not os.path.exists(edited):
        time.sleep(0.01)
    return {HELPER}.value, os.getpid()
"""


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with functions that need another one beside it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    write_atomically(tmp_path / f"{HELPER}.py", "value = 1\n")
    write_atomically(tmp_path / f"{TASKS}.py", SOURCE)
    yield importlib.import_module(TASKS)
    for name in (HELPER, TASKS):
        sys.modules.pop(name, None)


@pytest.mark.parametrize("multiplex", [1, 4])
def test_a_busy_worker_ends_after_its_calls(
    host: LocalHost, tasks: ModuleType, tmp_path: Path, multiplex: int
):
    """
    Calls soon after an edit run in another worker; one before it ends as it began, and its
    worker is not kept.
    """
    begun, edited = tmp_path / "begun", tmp_path / "edited"
    options: dict[str, Any] = {"host": host, "keep_alive": 60, "max_multiplexing": multiplex}
    read = function("current", **options)(tasks.read)
    read_late = function("current", **options)(tasks.read_late)

    value, pid = read()
    assert (value, read()) == (1, (1, pid))
    late = read_late.submit(str(begun), str(edited))
    assert wait_until(begun.exists, 60)
    write_atomically(tmp_path / f"{HELPER}.py", "value = 20\n")
    assert wait_until(lambda: read()[0] == 20, 60)
    edited.touch()
    assert late.result(timeout=60) == (1, pid)
    assert wait_until(lambda: not is_alive(pid), 60)
    assert read()[0] == 20


def test_an_edited_module_that_was_not_reloaded_is_told(
    host: LocalHost, tasks: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    """One warning names an edited module that this process has imported."""
    importlib.import_module(HELPER)
    read = function("current", host=host, keep_alive=60)(tasks.read)
    assert read()[0] == 1
    write_atomically(tmp_path / f"{HELPER}.py", "value = 20\n")
    assert wait_until(lambda: read()[0] == 20, 60)
    assert capsys.readouterr().err.count(f"Module {HELPER!r} was edited.") == 1


def test_the_only_worker_gives_way(host: LocalHost, tasks: ModuleType, tmp_path: Path):
    """Where there may be one worker, it is replaced, and a call that waits for it is not lost."""
    begun, edited = tmp_path / "begun", tmp_path / "edited"
    options: dict[str, Any] = {"host": host, "keep_alive": 60, "max_concurrency": 1}
    read = function("current", **options)(tasks.read)
    read_late = function("current", **options)(tasks.read_late)

    _, pid = read()
    late = read_late.submit(str(begun), str(edited))
    assert wait_until(begun.exists, 60)
    launcher = read.make_launcher()
    write_atomically(tmp_path / f"{HELPER}.py", "value = 20\n")
    assert wait_until(lambda: read.make_launcher() is not launcher, 60)
    waiting = read.submit()
    edited.touch()
    assert late.result(timeout=60) == (1, pid)
    value, fresh = waiting.result(timeout=60)
    assert value == 20
    assert fresh != pid
    assert wait_until(lambda: not is_alive(pid), 60)


def test_calls_with_older_modules_have_workers_of_their_own(
    host: LocalHost, tasks: ModuleType, tmp_path: Path
):
    """A call that was sealed before an edit runs with what it was sealed with."""
    read = function("current", host=host, keep_alive=60, max_concurrency=1)(tasks.read)
    before = read.make_launcher()
    assert read()[0] == 1
    write_atomically(tmp_path / f"{HELPER}.py", "value = 20\n")
    assert wait_until(lambda: read()[0] == 20, 60)
    assert before.run_until(((), {}), lambda: False)[0] == 1
    assert read()[0] == 20


def test_a_busy_worker_that_gives_way_counts_until_it_ends(
    host: LocalHost, tasks: ModuleType, tmp_path: Path
):
    """An older call waits for a worker that has another call, where there may be one worker."""
    begun, edited = tmp_path / "begun", tmp_path / "edited"
    options: dict[str, Any] = {"host": host, "keep_alive": 60, "max_concurrency": 1}
    options["max_multiplexing"] = 4
    read = function("current", **options)(tasks.read)
    read_late = function("current", **options)(tasks.read_late)
    before = read.make_launcher()
    assert read()[0] == 1
    write_atomically(tmp_path / f"{HELPER}.py", "value = 20\n")
    assert wait_until(lambda: read()[0] == 20, 60)
    _, pid = read()
    late = read_late.submit(str(begun), str(edited))
    assert wait_until(begun.exists, 60)
    (pool,) = host._pools.pools.values()
    with ThreadPoolExecutor(1) as threads:
        older = threads.submit(before.run_until, ((), {}), lambda: False)
        assert wait_until(lambda: bool(pool.waiting), 60)
        assert [worker.hello["pid"] for worker in pool._roster.workers if worker.hello] == [pid]
        edited.touch()
        assert late.result(timeout=60) == (20, pid)
        assert older.result(timeout=60)[0] == 1


def test_an_edit_of_another_module_keeps_the_worker(
    host: LocalHost, tasks: ModuleType, tmp_path: Path
):
    """
    A worker goes on that has nothing of what was edited, and so do functions whose sources
    differ in what is not the same file.
    """
    package = tmp_path / "outdated_package"
    package.mkdir()
    for name in ("__init__", "one", "two"):
        (package / f"{name}.py").write_text(f"name = {name!r}\n")
    options: dict[str, Any] = {"host": host, "keep_alive": 60, "max_concurrency": 1}

    @function("current", **options)
    def first() -> tuple[str, int]:
        import outdated_package.one  # type: ignore[import-not-found]  # written above

        return outdated_package.one.name, os.getpid()

    @function("current", **options)
    def second() -> tuple[str, int]:
        import outdated_package.two  # type: ignore[import-not-found]  # written above

        return outdated_package.two.name, os.getpid()

    name, pid = first()
    assert (name, second(), first()) == ("one", ("two", pid), ("one", pid))
