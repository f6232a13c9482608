"""Functions and classes that travel as source, opened where the Python might be another."""

from __future__ import annotations
import __future__

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core_worker.opening.portable import (
    codes_like,
    compile_unit,
    describe_code,
    make_function,
    walk_codes,
)

SHAPES = Path(__file__).resolve().parents[2] / "sealing" / "shapes.py"


@pytest.fixture
def shapes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module ``sealing/shapes.py``."""
    spec = importlib.util.spec_from_file_location("shapes", SHAPES)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "shapes", module)
    spec.loader.exec_module(module)
    return module


def test_functions_of_every_shape_are_made_from_their_source(
    worker: Any, shapes: ModuleType
) -> None:
    """A function that is compiled anew gives what the original does, with its classes."""
    wrong = {}
    for name, (function, arguments, expected) in shapes.SHAPES.items():
        # Code goes back whole to the Python that it came from.
        (got,) = worker(function, arguments, portable=True, native=False)
        if not shapes.same(expected, got):
            wrong[name] = got
    assert wrong == {}


def test_functions_alike_in_one_line_stay_apart(worker: Any) -> None:
    """Of functions that no description tells apart, each is made from its own code."""
    pair = (lambda x: x + 1), (lambda x: x * 5)
    results = [worker(each, (3,), portable=True, native=False) for each in pair]
    assert results == [[4], [15]]


def test_traceback_of_a_function_from_source_has_the_lines_of_its_file(worker: Any) -> None:
    """Code that is compiled alone keeps the file and the line numbers that it had."""

    def fail() -> None:
        raise LookupError("gone")

    (error,) = worker(fail, (), portable=True, native=False)
    line = fail.__code__.co_firstlineno + 1
    assert f'"{__file__}", line {line}, in fail' in str(error.__cause__)


def test_units_are_compiled_with_their_own_features_alone() -> None:
    """A unit has the ``__future__`` features that it names, and none of this module."""
    text = "def f(x: int): ...\n"
    # From Python 3.14 on annotations are code of their own.
    (*_, plain) = walk_codes(compile_unit((text, 1, "file.py", ())))
    (*_, textual) = walk_codes(compile_unit((text, 1, "file.py", ("annotations",))))
    flag = __future__.annotations.compiler_flag
    assert not plain.co_flags & flag
    assert textual.co_flags & flag


def test_a_place_counts_the_codes_that_are_alike() -> None:
    """A place leads to the code of its number among those that are alike."""
    unit = ("pair = [lambda x: x + 1, lambda x: x - 1]\n", 41, "file.py", ())
    first, second = walk_codes(compile_unit(unit))
    description = describe_code(first)
    assert description == describe_code(second) == ("<lambda>", 41, ("x",), ())
    assert codes_like(unit, description) == [first, second]
    made = [make_function(unit, (*description, index), {}) for index in (0, 1)]
    assert [function(3) for function in made] == [4, 2]
