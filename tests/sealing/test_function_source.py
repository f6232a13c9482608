"""The source of a function: found, and what the function was compiled from."""

from __future__ import annotations

import importlib.util
import json
import linecache
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fal_core.sealing.function_source import NotPortable, equal_codes, locate
from fal_core_worker.opening.portable import codes_like, compile_unit


@pytest.fixture
def load(tmp_path: Path) -> Callable[..., Any]:
    """Write a module, and return it."""
    path = tmp_path / "written.py"

    def load(source: str) -> Any:
        path.write_text(source)
        spec = importlib.util.spec_from_file_location("written", path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        linecache.checkcache(str(path))
        return module

    return load


def test_the_statement_of_a_function_is_found(load: Callable[..., Any]) -> None:
    """The unit is the whole statement, decorators included, with its lines and its features."""
    module = load(
        "from __future__ import annotations\n"
        "import functools\n\n"
        "@functools.cache\n"
        "def outer(x: int):\n"
        "    def inner(y):\n"
        "        return x + y\n"
        "    return inner\n"
        "other = 1\n"
    )
    text = "".join(Path(module.__file__).read_text().splitlines(keepends=True)[3:8])
    inner = module.outer(1)
    for function, name in ((module.outer.__wrapped__, "outer"), (inner, "inner")):
        unit, (found, *_) = locate(function)
        assert unit[:3] == (text, 4, module.__file__)
        assert "annotations" in unit[3]
        assert found == name
    _, (*_, cells, index) = locate(inner)
    assert (cells, index) == (("x",), 0)


def test_functions_alike_are_told_apart_by_what_they_do(load: Callable[..., Any]) -> None:
    """Of codes of one name and line, the place has the number of the right one."""
    module = load("pair = (lambda x: x + 1), (lambda x: x - 1), (lambda x: x + 1)\n")
    places = [locate(function)[1] for function in module.pair]
    assert [place[-1] for place in places[:2]] == [0, 1]
    # The last does what the first does.
    assert places[2][-1] in (0, 2)
    unit, (*description, index) = locate(module.pair[1])
    same = codes_like(unit, tuple(description))
    assert equal_codes(same[index], module.pair[1].__code__)


def test_a_function_that_was_moved_in_its_file_is_found(load: Callable[..., Any]) -> None:
    """Lines that were added above since change nothing."""
    source = "def f():\n    return 1\n"
    module = load(source)
    Path(module.__file__).write_text("x = 1\n\n" + source)
    linecache.checkcache(module.__file__)
    unit, _ = locate(module.f)
    assert unit[:2] == (source, 3)


@pytest.mark.parametrize(
    "changed",
    [
        "def f(x):\n    return x + 2\n",
        "def f(x):\n    return x + True\n",
        "def f(y):\n    return y + 1\n",
        "def f(x):\n    return (\n",
        "x = 1\n",
    ],
)
def test_a_function_whose_source_has_changed_is_refused(
    load: Callable[..., Any], changed: str
) -> None:
    """Source that compiles to other code is not that of the function."""
    module = load("def f(x):\n    return x + 1\n")
    Path(module.__file__).write_text(changed)
    linecache.checkcache(module.__file__)
    with pytest.raises(NotPortable, match="The source of 'f' is not what it was compiled from"):
        locate(module.f)


def test_a_function_without_source_is_refused() -> None:
    """The sentence says where the function was defined, or that Python itself has made it."""
    space: dict[str, Any] = {}
    exec(compile("def f(): ...", "<made>", "exec"), space)
    with pytest.raises(NotPortable, match="'f' has no source: it was defined in '<made>'"):
        locate(space["f"])
    with pytest.raises(NotPortable, match="'loads' was made by a module of Python itself"):
        locate(json.loads)


def code(source: str) -> types.CodeType:
    found = compile_unit((source, 1, "file.py", ()))
    return next(each for each in found.co_consts if isinstance(each, types.CodeType))


@pytest.mark.parametrize(
    ("one", "other", "are_equal"),
    [
        ("def f(): return 1", "\n\ndef f():\n    return 1", True),
        ("def f(): return 0.0", "def f(): return -0.0", False),
        ("def f(): return 1", "def f(): return True", False),
        ("def f(): return (1, 2)", "def f(): return (1, 2.0)", False),
        ("def f(): return float('nan')", "def f(): return float('nan')", True),
        ("def f(): return lambda: 1", "def f(): return lambda: 2", False),
        ("def f(): return lambda: 1", "def f():\n  return lambda: 1", True),
        ("def f(x): return x", "def f(*x): return x", False),
        ("def f(): return a", "def f(): return b", False),
    ],
)
def test_codes_are_equal_apart_from_their_lines(one: str, other: str, are_equal: bool) -> None:
    """Constants are compared with their types and signs, those of codes inside too."""
    assert equal_codes(code(one), code(other)) is are_equal
