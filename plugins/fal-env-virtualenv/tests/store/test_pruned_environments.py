"""Pruning of environments."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from fal_core.stores import prune
from fal_env_virtualenv import Virtualenv
from fal_env_virtualenv.store.environments import STORE, record_path
from fal_env_virtualenv.store.listing import list_environments
from fal_testing.harness.processes import wait_until

if TYPE_CHECKING:
    from conftest import Builder, Built, LetGo


def test_pruning_removes_the_longest_unused(three: list[Built]) -> None:
    """The least recently used are removed first, until the rest fits."""
    sizes = {entry.key: entry.size for entry in list_environments()}
    oldest, middle, newest = (environment.key for environment, _ in three)
    limit = sizes[newest]
    planned = prune([STORE], max_size=limit, dry_run=True)
    assert [entry.key for entry in planned.entries] == [oldest, middle]
    assert len(list_environments()) == 3
    assert prune([STORE], max_size=limit) == planned
    assert [entry.key for entry in list_environments()] == [newest]
    assert planned.kept == limit
    assert not three[0][0].is_built()
    assert three[2][0].is_built()


def test_pruning_keeps_environments_in_use(
    three: list[Built], build: Builder, let_go: LetGo
) -> None:
    """An environment stays while a process has taken it, or runs its Python."""
    taken, running, free = three
    build(taken[0])
    # Ends by being killed.
    process = subprocess.Popen(
        running[1].command(["-c", "import time; time.sleep(600)"]).argv, start_new_session=True
    )
    commands = Path(f"/proc/{process.pid}/cmdline")
    try:
        assert wait_until(lambda: running[1].executable in commands.read_text(), 60)
        assert [entry.key for entry in prune([STORE], max_size=0).entries] == [free[0].key]
        assert taken[0].is_built()
        assert running[0].is_built()
    finally:
        process.kill()
        process.wait()
    let_go(taken[1])
    assert len(prune([STORE], max_size=0).entries) == 2


def test_pruning_takes_leftovers(three: list[Built], cache: Path) -> None:
    """Unfinished builds, trash, and environments that are damaged or without record go too."""
    damaged, forgotten, whole = three
    os.unlink(damaged[1].executable)
    os.unlink(record_path(forgotten[0].key))
    (cache / "building" / "key.1234").mkdir()
    (cache / "trash" / "1234").mkdir()
    (cache / "pythons.json").touch()
    removal = prune([STORE], max_size=1 << 40)
    assert [entry.key for entry in removal.entries] == [damaged[0].key]
    assert removal.freed > 0
    assert not Path(forgotten[1].executable).parent.exists()
    assert list((cache / "building").iterdir()) == list((cache / "trash").iterdir()) == []
    assert whole[0].is_built()
    assert (cache / "pythons.json").exists()


def test_pruning_beside_builds_breaks_none(build: Builder, let_go: LetGo) -> None:
    """A build returns an environment that exists, even if others are pruned meanwhile."""
    stop = threading.Event()

    def prune_all() -> None:
        while not stop.wait(0.005):  # As often as builds can meet it.
            prune([STORE], max_size=0)

    pruner = threading.Thread(target=prune_all)
    pruner.start()
    try:
        for _ in range(10):
            interpreter = build(Virtualenv(requirements=["gamma"]))
            assert os.path.exists(interpreter.executable)
            let_go(interpreter)
    finally:
        stop.set()
        pruner.join(60)
