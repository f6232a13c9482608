"""Imports: found in files and in code, without running any of it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import CodeType

import attrs
import pytest

from fal_core.sealing.imports import (
    absolute,
    code_imports,
    file_imports,
    find_module,
    is_installed,
    is_standard,
    is_standard_path,
    leading_imports,
)


def code_of(source: str) -> CodeType:
    """Return the code of the only function in *source*."""
    whole = compile(source, "file.py", "exec")
    return next(each for each in whole.co_consts if isinstance(each, CodeType))


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose modules raise if they are imported."""
    for name in ("mansion/__init__.py", "mansion/room.py", "mansion/hall/__init__.py"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("raise SystemError('it must not be imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path


def test_modules_are_found_without_being_imported(project: Path) -> None:
    """A module is found by its name, wherever it lies in packages, and none of them runs."""
    assert find_module("mansion") == str(project / "mansion" / "__init__.py")
    assert find_module("mansion.room") == str(project / "mansion" / "room.py")
    assert find_module("mansion.hall") == str(project / "mansion" / "hall" / "__init__.py")
    for name in ("mansion.attic", "mansion.room.bed", "no_such_module", "sys"):
        assert find_module(name) is None
    assert find_module("json") == json.__file__
    assert not {"mansion", "mansion.room"} & set(sys.modules)


def test_a_finder_that_raises_does_not_matter(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A finder that fails for a module leaves it to the next."""

    class Broken:
        @staticmethod
        def find_spec(name: str, path: object = None, target: object = None) -> None:
            raise RuntimeError(name)

    monkeypatch.setattr(sys, "meta_path", [Broken(), *sys.meta_path])
    assert find_module("mansion.room") is not None


def test_what_is_installed_is_not_local(project: Path) -> None:
    """Python and distributions are at the worker already; a checkout and the unknown are not."""
    assert is_standard("json.decoder")
    assert is_standard("fal_core_worker.main")
    assert not is_standard("attrs")
    assert is_installed("json.decoder")
    assert is_installed("attrs")
    assert not is_installed("mansion.room")
    assert not is_installed("no_such_module")
    assert is_standard_path(json.__file__)
    assert is_standard_path("<frozen importlib._bootstrap>")
    assert not is_standard_path(attrs.__file__)
    assert not is_standard_path(__file__)


def test_imports_of_a_file_are_found_anywhere_in_it(tmp_path: Path) -> None:
    """Relative imports start at the package, and a name may be a module of what it is from."""
    path = tmp_path / "module.py"
    path.write_text(
        "import a.b, c as d\n"
        "from . import near\n"
        "from ..up import one, two\n"
        "from star import *\n"
        "def f():\n    if True:\n        import inner\n"
    )
    assert sorted(file_imports(str(path), "top.sub")) == [
        *("a.b", "c", "inner", "star", "top.sub", "top.sub.near"),
        *("top.up", "top.up.one", "top.up.two"),
    ]


def test_a_file_that_has_changed_is_read_again(tmp_path: Path) -> None:
    """What a file imports is remembered until the file changes; a broken one imports nothing."""
    path = tmp_path / "module.py"
    assert file_imports(str(path), "") == []
    for source, found in (
        ("import a\n", ["a"]),
        ("import a\nimport more\n", ["a", "more"]),
        ("import a\nimport (\n", []),
        ("\0", []),
    ):
        path.write_text(source)
        assert file_imports(str(path), "") == found


def test_imports_of_code_are_found_inside_it() -> None:
    """Code has the imports of the functions and classes in it, like a file."""
    code = code_of(
        "def f():\n"
        "    import a.b\n"
        "    from .near import name\n"
        "    from .. import up\n"
        "    class C:\n"
        "        import c\n"
        "    return lambda: __import__('not seen')\n"
    )
    assert code_imports(code, "top.sub") == [
        *("a.b", "top.sub.near", "top.sub.near.name", "top", "top.up", "c")
    ]


@pytest.mark.parametrize(
    ("body", "found"),
    [
        ("import a.b as c, d; print()", [("a", "c"), ("d", "d")]),
        ("from a import b, c", [("a", "b"), ("a", "c")]),
        ("import a; a.start(); import b", [("a", "a")]),
        ("from . import a; import b", [("b", "b")]),
        ("if x: import a", []),
        ("return x; import a", []),
        ("import a; yield a", [("a", "a")]),
        ("def g(): return a\n    import a", []),
    ],
)
def test_imports_that_are_certain_come_first(body: str, found: list[tuple[str, str]]) -> None:
    """Imports before anything else are certain to run; relative ones are no other modules."""
    assert leading_imports(code_of(f"def f(x):\n    {body}\n")) == found


def test_guarded_imports_are_not_certain() -> None:
    """An import that may fail without the function failing is not one that it needs."""
    source = "def f():\n    import a\n    try:\n        import b\n    except ImportError:\n"
    assert leading_imports(code_of(source + "        b = None\n")) == [("a", "a")]


@pytest.mark.parametrize(
    ("name", "level", "package", "whole"),
    [
        ("a.b", 0, "top", "a.b"),
        ("a", 1, "top.sub", "top.sub.a"),
        ("a", 2, "top.sub", "top.a"),
        ("", 1, "top.sub", "top.sub"),
        ("", 2, "top.sub", "top"),
    ],
)
def test_relative_names_become_absolute(
    name: str, level: int, package: str, whole: str
) -> None:
    """Each leading dot after the first goes up one package."""
    assert absolute(name, level, package) == whole
