"""Edits of local modules: when they are looked for, and what is said of them."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core.caches import write_atomically
from fal_core.errors import FalSerializationError
from fal_core.sealing import edits
from fal_core.sealing.edits import Edits, own_module
from fal_core.sealing.functions import seal_function

HELPER = "edited_helper"
TASKS = "edited_tasks"


class Clock:
    """A clock of the test's own, which looks at files move on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.steps: list[float] = []

    def __call__(self) -> float:
        self.now += self.steps.pop(0) if self.steps else 0.0
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(edits, "monotonic", clock)
    return clock


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """A module with a function that needs another module beside it."""
    monkeypatch.syspath_prepend(str(tmp_path))
    # Two edits within a second must differ in more than that.
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    write_atomically(tmp_path / f"{HELPER}.py", "value = 1\n")
    write_atomically(
        tmp_path / f"{TASKS}.py", f"import {HELPER}\ndef task(): return {HELPER}.value\n"
    )
    yield importlib.import_module(TASKS)
    for name in (HELPER, TASKS):
        sys.modules.pop(name, None)
        edits._imported.pop(name, None)


def path_of(name: str) -> Path:
    return Path(str(sys.modules[name].__file__))


def edits_of(func: Any) -> Edits:
    found = seal_function(func).edits
    assert found is not None
    return found


def test_an_edit_of_a_module_that_travels_is_seen(project: ModuleType):
    """
    A seal is out of date once the size, the inode or the time of a file of its sources
    has changed, until the function is sealed again.
    """
    before = edits_of(project.task)
    assert before.are_none()
    write_atomically(path_of(HELPER), "value = 2\n")
    assert not before.are_none()
    assert not before.are_none()
    assert edits_of(project.task).are_none()


def test_an_edited_module_that_was_not_reloaded_is_told_once(project: ModuleType):
    """One warning names the module; another comes only after it was reloaded and edited again."""
    helper = sys.modules[HELPER]
    first = edits_of(project.task)
    told = []
    for value in (20, 300):
        write_atomically(path_of(HELPER), f"value = {value}\n")
        assert not first.are_none()
        told += first.outdated
        first = edits_of(project.task)
        told += first.outdated
    assert len(told) == 1
    assert told[0].startswith(f"Module {HELPER!r} was edited. Calls use the new version")

    importlib.reload(helper)
    assert edits_of(project.task).are_none()
    write_atomically(path_of(HELPER), "value = 4000\n")
    importlib.reload(helper)
    assert not first.are_none()
    assert first.outdated == edits_of(project.task).outdated == []
    write_atomically(path_of(HELPER), "value = 50000\n")
    assert len(edits_of(project.task).outdated) == 1


def test_an_edit_of_the_function_itself_is_told(project: ModuleType):
    """
    The module of the function travels as this process has imported it: an edit of it is
    told, and changes nothing.
    """
    found = edits_of(project.task)
    write_atomically(path_of(TASKS), "def task(): return 'edited'\n")
    assert found.are_none()
    assert found.are_none()
    (told,) = found.outdated
    assert told.startswith(f"Module {TASKS!r} was edited. Calls of its functions still use")


def test_scripts_and_installed_modules_are_not_looked_at():
    """A script cannot be imported again, and what is installed is not edited."""
    space: dict[str, Any] = {"__name__": "__main__"}
    exec("def task(): pass", space)
    assert own_module(space["task"]) is None
    assert own_module(pytest.main) is None


def test_files_are_looked_at_now_and_then(clock: Clock, tmp_path: Path):
    """
    Looks are 0.3 s apart at least, and take a hundredth of the time at most; a look that
    met a machine that stood still does not put off the next ones.
    """
    path = tmp_path / "module.py"
    path.write_text("value = 1\n")
    found = Edits([str(path)], {}, None)
    assert found.until == pytest.approx(0.3)
    assert found.are_none()
    assert found.until == pytest.approx(0.3)
    for took, rest in ((0.1, 0.3), (0.1, 9.9), (5.0, 9.9), (0.001, 0.3), (0.001, 0.3)):
        clock.steps = [0.0, took]
        assert found.are_none()
        assert found.until - clock.now == pytest.approx(rest)


def test_a_file_that_is_about_to_be_replaced_is_no_edit(tmp_path: Path):
    """What is not there for a moment leaves the calls what they have."""
    path = tmp_path / "module.py"
    path.write_text("value = 1\n")
    found = Edits([str(path)], {}, None)
    path.rename(tmp_path / "aside")
    assert found.are_none()
    path.write_text("value = 20\n")
    assert not found.are_none()


def test_a_module_whose_file_is_gone_is_refused(project: ModuleType):
    """The error names the file that cannot travel."""
    path = path_of(HELPER)
    path.unlink()
    with pytest.raises(FalSerializationError, match=f"The file {path}, which travels"):
        seal_function(project.task)


def test_a_module_whose_file_goes_later_is_named_once(tmp_path: Path):
    """
    Calls go on with the version that was read; a file that is only being replaced is not
    named.
    """
    path = tmp_path / "helper.py"
    path.write_text("A = 1")
    found = Edits([str(path)], {"helper": str(path)}, None)
    path.unlink()
    assert found.are_none()
    assert found.outdated == []
    assert all(found.are_none() for _ in range(3))
    (sentence,) = found.outdated
    assert f"The file of module 'helper' is gone: {path}." in sentence
