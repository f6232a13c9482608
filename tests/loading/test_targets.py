"""Targets: functions loaded by ``file.py::name``, and errors for those that cannot be."""

from __future__ import annotations

import importlib
import sys
import textwrap
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from fal_core.loading.targets import (
    TargetError,
    TargetImportError,
    load_target,
    load_targets,
)

ONE = """
from fal_core import function
from fal_testing import InProcessHost

@function("current", host=InProcessHost())
def answer() -> int:
    return 42
"""

TWO = f"""{ONE}
@function("current", host=InProcessHost())
def other() -> int:
    return 1

def plain(): ...
"""


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Path]]:
    """Write a file in an empty working directory; what is imported from it is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(sys.modules)

    def write(name: str, text: str) -> Path:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(textwrap.dedent(text), "utf-8")
        return path

    yield write
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def test_a_file_names_all_its_functions(write: Any) -> None:
    """Without a name, all are meant, in the order in which they are declared."""
    write("told_many.py", ONE + "later = answer.on(keep_alive=60)\nearlier = answer.on()\n")
    assert list(load_targets("told_many.py")) == ["answer", "later", "earlier"]
    assert list(load_targets("told_many.py::later")) == ["later"]
    write("told_none.py", "")
    with pytest.raises(TargetError, match="has no isolated function"):
        load_targets("told_none.py")


@pytest.mark.parametrize(
    "target", ["told_once.py::answer", "told_once.py", "told_once::answer", "told_once"]
)
def test_a_file_or_a_module_names_a_function(write: Any, target: str) -> None:
    """A target is a file or a module, and a name where there are several functions."""
    write("told_once.py", ONE)
    assert load_target(target).run_local() == 42


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("::answer", "'::answer' does not name a function"),
        ("two_told.py::", "'two_told.py::' does not name a function"),
        ("nowhere.py::answer", "There is no file nowhere.py."),
        ("no_such_module::answer", "There is no module no_such_module"),
        (
            "two_told.py:answer",
            "There is no module two_told.py:answer. Write two colons: 'two_told.py::answer'.",
        ),
        ("two_told.py", "two_told.py has these isolated functions: answer, other. Name one"),
        ("two_told.py::plain", "'plain' in two_told.py is not an isolated function. "),
        ("two_told.py::nope", "There is no 'nope' in two_told.py. two_told.py has "),
        ("none_told.py", "none_told.py has no isolated function. "),
        ("./", "./ is a directory"),
        ("folder", "folder is a directory. Name a file in it, as in 'folder/file.py::name'."),
        ("./folder/", "./folder/ is a directory. Name a file in it, as in './folder/file.py"),
        ("folder::answer", "folder is a directory. "),
        ("no.such.module::answer", "There is no module no.such.module."),
        ("json.such::answer", "There is no module json.such."),
    ],
)
def test_a_target_without_a_function_is_an_error(
    write: Any, target: str, sentence: str
) -> None:
    """The error lists the functions that exist, and says what to write."""
    write("two_told.py", TWO)
    write("none_told.py", "")
    write("folder/notes.txt", "no module")
    with pytest.raises(TargetError) as caught:
        load_target(target)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("target", "sentence"),
    [
        ("needs_told.py::f", "needs_told.py could not be imported: ModuleNotFoundError: "),
        ("needs_told::f", "needs_told could not be imported: ModuleNotFoundError: "),
        ("json.py::f", "json.py has the name of a module that is in use, 'json'. "),
        ("exits_told.py::f", "exits_told.py exits where it is imported. "),
        pytest.param(
            *("kind_told.py::f", "inner_told.py:5: Option 'requirements' must be "),
            marks=pytest.mark.skipif(
                find_spec("fal_host_local") is None, reason="fal-host-local is not installed"
            ),
        ),
    ],
)
def test_a_module_that_cannot_be_imported_is_named(
    write: Any, target: str, sentence: str
) -> None:
    """A module that cannot be had is one sentence, and what it has raised has a traceback."""
    write("needs_told.py", "import needs_other\n")
    write("json.py", "")
    write("exits_told.py", "raise SystemExit(3)\n")
    write("kind_told.py", "import inner_told\n")
    write(
        "inner_told.py",
        """\
        from fal_core import function


        # The declaration that is wrong need not be in the file that is named.
        @function("virtualenv", requirements=3)
        def f(): ...
        """,
    )
    with pytest.raises(TargetImportError) as caught:
        load_target(target)
    assert str(caught.value).startswith(sentence)
    assert "\n" not in str(caught.value)
    assert bool(caught.value.traceback) == ("could not be imported" in sentence)


def test_a_module_that_raises_keeps_its_traceback(write: Any) -> None:
    """The error holds the traceback from the user's module on, and the exception as cause."""
    write("raises_early.py", "def fail():\n    1 / 0\n\nfail()\n")
    with pytest.raises(TargetImportError, match="could not be imported: ZeroDiv") as caught:
        load_target("raises_early.py::answer")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)
    assert caught.value.traceback.count("raises_early.py") == 2
    assert "targets.py" not in caught.value.traceback


def test_a_wrong_declaration_names_its_line(write: Any) -> None:
    """An error of an option is reported at the line of the declaration, without a traceback."""
    write(
        "misspelt.py",
        """\
        from fal_core import function
        from fal_testing import InProcessHost

        @function("current", host=InProcessHost(), machine_tipe="GPU")
        def answer() -> int:
            return 42
        """,
    )
    with pytest.raises(TargetImportError) as caught:
        load_target("misspelt.py::answer")
    assert str(caught.value).startswith("misspelt.py:4: Unknown option 'machine_tipe'")
    assert caught.value.traceback == ""


def test_files_of_one_name_are_loaded_one_after_another(write: Any) -> None:
    """
    A file is loaded with its own neighbours after one of the same name in another folder,
    and again as it is after it was changed.
    """
    for folder, number in (("a", 1), ("b", 2)):
        text = ONE.replace("return 42", "return helping.NUMBER")
        write(f"{folder}/same_told.py", f"import helping\n{text}")
        write(f"{folder}/helping.py", f"NUMBER = {number}\n")
    first = load_target("a/same_told.py::answer")
    assert first.run_local() == 1
    assert load_target("b/same_told.py::answer").run_local() == 2
    assert first.run_local() == 1
    write("b/helping.py", "NUMBER = 30\n")
    assert load_target("b/same_told.py::answer").run_local() == 30


def test_packages_of_one_name_are_loaded_one_after_another(write: Any) -> None:
    """A file of a package is loaded as part of that package, and not of one of the same name."""
    for folder, number in (("a", 1), ("b", 2)):
        write(f"{folder}/bundled/__init__.py", f"NUMBER = {number}\n")
        text = ONE.replace("return 42", "return NUMBER")
        write(f"{folder}/bundled/inner.py", f"from . import NUMBER\n{text}")
    assert load_target("a/bundled/inner.py::answer").run_local() == 1
    assert load_target("b/bundled/inner.py::answer").run_local() == 2


def test_file_of_a_package_that_the_program_uses_is_refused(write: Any) -> None:
    """A file is never taken for another one that the program has imported under its name."""
    write("a/used/__init__.py", "")
    write("a/used/inner.py", "")
    write("b/used/__init__.py", "")
    write("b/used/inner.py", ONE)
    sys.path.insert(0, "a")
    importlib.import_module("used.inner")
    with pytest.raises(TargetImportError, match="in use, 'used\\.inner'"):
        load_target("b/used/inner.py::answer")
