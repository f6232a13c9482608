"""Annotations that name what only type checkers see."""

from __future__ import annotations

import importlib.util
import inspect
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from fal_core import function
from fal_core.calling.methods import BoundFunction
from fal_core.facts import facts_of
from fal_core.sealing.dependencies import used_modules
from fal_core_worker.annotations import annotations_of, signature_of
from fal_testing import InProcessHost

#: A module that evaluates its annotations when they are read.
LATE = '''
import dataclasses
from typing import TYPE_CHECKING

from fal_core.facts import facts

if TYPE_CHECKING:
    from torch_that_is_missing import Tensor


class Box:
    inner: Tensor
    size: int = 3


@dataclasses.dataclass
class Pair:
    left: Tensor
    right: int = 0


@facts
class Torn(Exception):
    tensor: Tensor
    count: int = 1


def scale(value: Tensor, by: list[Tensor], times: int = 2) -> dict[str, int]:
    """Scale a value."""
    return {"scaled": value * times}


def annotations():
    return scale.__annotations__, Box.__annotations__, Pair(4).left
'''

#: The annotations of ``scale``, as far as they can be evaluated.
READ = {
    "value": "Tensor",
    "by": "list[Tensor]",
    "times": int,
    "return": dict[str, int],
}


@pytest.fixture
def late(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The module, imported."""
    if sys.version_info < (3, 14):
        pytest.skip("Before Python 3.14 such a module cannot be imported.")
    path = tmp_path / "late.py"
    path.write_text(LATE)
    spec = importlib.util.spec_from_file_location("late", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "late", module)
    spec.loader.exec_module(module)
    return module


def test_what_has_no_value_is_text(late: ModuleType) -> None:
    """An annotation that cannot be evaluated is its text; the others are their values."""
    assert annotations_of(late.scale) == READ
    assert annotations_of(late.Box) == {"inner": "Tensor", "size": int}
    assert annotations_of(3) == {}
    signature = signature_of(late.scale)
    assert {name: each.annotation for name, each in signature.parameters.items()} == {
        name: READ[name] for name in ("value", "by", "times")
    }
    assert signature.return_annotation == dict[str, int]
    assert signature.parameters["times"].default == 2


def test_annotation_is_read_anew_once_it_has_a_value(late: ModuleType) -> None:
    """Nothing is set on what is read: what is defined later counts."""
    assert annotations_of(late.scale)["value"] == "Tensor"
    late.Tensor = float
    assert annotations_of(late.scale)["value"] is float
    assert inspect.signature(late.scale).parameters["value"].annotation is float


@pytest.mark.parametrize("native", [True, False])
def test_functions_and_classes_travel_with_them(
    late: ModuleType, worker: Any, native: bool
) -> None:
    """A function arrives, compiled or as source, with the annotations of it and its classes."""
    assert used_modules(late.scale) == {}
    (scaled,) = worker(late.scale, (4, [], 3), portable=True, native=native)
    assert scaled == {"scaled": 12}
    (read,) = worker(late.annotations, (), portable=True, native=native)
    assert read == (READ, {"inner": "Tensor", "size": int}, 4)


def test_error_of_a_plugin_may_have_them(late: ModuleType) -> None:
    """The facts of an error are its annotated fields, whatever the annotations mean."""
    assert facts_of(late.Torn) == ("tensor", "count")
    assert str(inspect.signature(late.Torn)) == "(tensor: 'Tensor', count: int = 1)"


def test_isolated_method_has_a_signature(late: ModuleType) -> None:
    """The signature of an isolated method is that of its function, with the texts."""
    method = BoundFunction(function("current", host=InProcessHost())(late.scale), 3)
    parameters = inspect.signature(method).parameters
    assert {name: each.annotation for name, each in parameters.items()} == {
        name: READ[name] for name in ("by", "times")
    }
