"""Watching the files of a service."""

from __future__ import annotations

import importlib
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from fal_core import function
from fal_core.cli.services.serving import Watched
from fal_testing import InProcessHost

#: Seconds that anything may take.
PATIENCE = 30


def save(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "change",
    [
        lambda path: path.write_text("longer than before\n"),
        lambda path: os.utime(path, ns=(1, 1)),
        lambda path: path.unlink(),
    ],
    ids=["another size", "another time", "removed"],
)
def test_a_change_is_seen_and_named(folder: Path, change: Callable[[Path], Any]) -> None:
    """A file that was saved or removed has changed, and is named as seen from here."""
    one, two = (save(folder / "inside" / name, "x\n") for name in ("one.py", "two.py"))
    watched = Watched([str(one), str(two)])
    assert not watched.has_changed()
    change(two)
    assert watched.has_changed()
    assert watched.changed == os.path.join("inside", "two.py")


def test_a_file_that_comes_has_changed(folder: Path) -> None:
    """A file that was not there may be watched until it is."""
    watched = Watched([str(folder / "new.py")])
    assert not watched.has_changed()
    save(folder / "new.py", "x\n")
    assert watched.has_changed()


def test_waiting_ends_with_a_change(folder: Path) -> None:
    """Whoever waits goes on once a file was saved."""
    path = save(folder / "one.py", "x\n")
    watched = Watched([str(path)])
    waiting = threading.Thread(target=watched.wait, args=(0.01,), daemon=True)
    waiting.start()
    assert waiting.is_alive()
    path.write_text("changed\n")
    waiting.join(PATIENCE)
    assert not waiting.is_alive()


@pytest.fixture
def project(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    save(folder / "watched_task.py", "import watched_near\ndef task():\n    import json\n")
    save(folder / "watched_near.py", "")
    save(folder / "watched_named.py", "")
    save(folder / "beside.py", "")
    monkeypatch.syspath_prepend(folder)
    yield folder
    for name in [name for name in sys.modules if name.startswith("watched_")]:
        del sys.modules[name]


def test_a_function_is_watched_with_the_modules_that_it_needs(project: Path) -> None:
    """Its own module counts, those that it imports, and those that it names; no others."""
    task = importlib.import_module("watched_task").task
    isolated = function(
        "current", host=InProcessHost(), local_python_modules=["watched_named"]
    )(task)
    assert {Path(path).name for path in Watched.of(isolated).paths} == {
        "watched_task.py",
        "watched_near.py",
        "watched_named.py",
    }


@pytest.mark.parametrize("target", ["app.py::main", "./app.py", "package/app.py::main"])
def test_a_target_that_cannot_be_loaded_is_watched_with_its_folder(
    folder: Path, target: str
) -> None:
    """Python files beside it may be what is wrong; those of packages and caches are not."""
    place = Path(target.partition("::")[0])
    base = folder / place.parent
    save(base / "helper.py", "")
    save(base / "inside" / "deep.py", "")
    save(base / "notes.txt", "")
    for name in ("__pycache__", "site-packages", ".venv", "node_modules"):
        save(base / name / "other.py", "")
    found = {os.path.relpath(path, base) for path in Watched.beside(target).paths}
    assert found == {"app.py", "helper.py", os.path.join("inside", "deep.py")}


def test_a_module_is_watched_with_the_working_directory(folder: Path) -> None:
    """A target that is named as a module has the Python files here."""
    save(folder / "app.py", "")
    assert {Path(path).name for path in Watched.beside("app::main").paths} == {"app.py"}
