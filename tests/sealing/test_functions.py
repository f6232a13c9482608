"""Functions: sealed once, with their classes and all that they refer to."""

from __future__ import annotations

import dataclasses
import functools
import math
import pickle
import sys
import threading
from collections.abc import Callable
from typing import Any

import attrs
import cloudpickle
import pytest

from fal_core.errors import FalSerializationError
from fal_core.sealing import functions as sealing
from fal_core.sealing.arguments import seal_arguments
from fal_core.sealing.functions import seal_function
from fal_core.sealing.packing import pack_function
from fal_core_worker.opening.functions import open_forms


def echo(value: Any) -> Any:
    return value


class Counter:
    total = 0

    def __init__(self, start: int) -> None:
        self.value = start


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


@attrs.frozen
class Size:
    width: int


def typed(value: Point | None) -> Size:
    return Size(2)


def test_classes_of_annotations_travel_with_the_function(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A class that only the text of an annotation names travels once too."""
    seal = seal_function(typed)

    assert not seal_arguments(((Point(1),), {}), seal).contains_code
    monkeypatch.setitem(globals(), "Point", Counter)
    assert not seal.captures.are_unchanged()


class Unsealable:
    thread = threading.current_thread()


def names_unsealable(value: Unsealable | None) -> int:
    return 3


def test_class_of_an_annotation_that_cannot_travel(worker: Any) -> None:
    """A class of an annotation that cannot travel does not keep the function from travelling."""
    assert worker(names_unsealable, (None,)) == [3]


def test_other_users_of_cloudpickle_see_nothing() -> None:
    """Sealing registers no module with cloudpickle."""
    before = cloudpickle.list_registry_pickle_by_value()
    assert typed.__module__ not in before

    seal_function(typed)

    assert cloudpickle.list_registry_pickle_by_value() == before


SHAPES: list[tuple[Callable[..., Any], tuple[Any, ...], Any]] = [
    (math.sqrt, (4.0,), 2.0),
    (functools.partial(pow, 2), (5,), 32),
    (Point(3).__eq__, (Point(3),), True),
]


@pytest.mark.parametrize(("function", "arguments", "expected"), SHAPES)
def test_wrapped_functions(
    worker: Any, function: Any, arguments: tuple[Any, ...], expected: Any
) -> None:
    """Functions that the standard library wraps travel too."""
    assert worker(function, arguments) == [expected]


class Block(bytearray):
    def __reduce_ex__(self, protocol: object) -> Any:
        return bytes, (pickle.PickleBuffer(self),)


@pytest.mark.parametrize("portable", [False, True])
def test_functions_that_refer_to_large_values(portable: bool) -> None:
    """Whatever a function refers to is in its data, which is all that a worker is sent of it."""
    large = [Block(1 << 20), b"x" * (1 << 20), bytearray(1 << 20)]

    def measure() -> list[int]:
        return [len(each) for each in large]

    sealed = seal_function(measure, portable=portable).sealed
    forms = [form for form in (sealed.native, sealed.portable) if form is not None]
    assert len(forms) == 1 + portable
    assert not any(form.buffers for form in forms)
    _, native, other, refusal = pack_function(sealed)
    opened = open_forms(native, other, refusal)
    assert opened() == [1 << 20] * 3


def test_function_that_cannot_be_pickled() -> None:
    """The error names the captured variable."""
    lock = threading.Lock()
    where = "because of variable 'lock' of an enclosing function: a lock belongs"
    with pytest.raises(FalSerializationError, match=where):
        seal_function(lambda: lock)

    def use(number: int, log: Any = sys.__stdin__) -> Any:
        return log

    with pytest.raises(FalSerializationError, match="because of the default of 'log': an open"):
        seal_function(use)


def test_stub_reducers(worker: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The reducer that is registered for a type decides how its instances travel."""

    class Handle:
        pass

    handle = Handle()
    monkeypatch.setitem(sealing.stub_reducers, Handle, lambda handle: (str, ("a stub",)))

    assert worker(lambda: handle, ()) == ["a stub"]


class Guarded:
    thread = threading.current_thread()


held = Guarded()


def test_capture_that_cannot_travel_is_the_one_that_was_written() -> None:
    """The error names the captured variable, not what that holds in turn."""

    def use() -> Any:
        return held

    with pytest.raises(FalSerializationError) as caught:
        seal_function(use)
    assert "because of global 'held': a thread belongs" in str(caught.value)
    assert str(caught.value).endswith("in the function, or in its setup_function.")
