"""Arguments: sealed for each call."""

from __future__ import annotations

import pickle
import sys
import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fal_core.errors import FalSerializationError
from fal_core.sealing.arguments import seal_arguments
from fal_core.sealing.functions import seal_function
from fal_core.sealing.opener import Opener
from fal_core_worker.opening.pickling import BUFFER_SIZE
from fal_core_worker.opening.values import open_arguments, seal_value


def echo(value: Any) -> Any:
    return value


plain_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary(),
    lambda each: st.lists(each) | st.dictionaries(st.text(), each) | st.tuples(each, each),
    max_leaves=20,
)


@given(plain_values)
def test_plain_values_round_trip(value: Any) -> None:
    """Values of built-in types come back equal, and are not said to hold code."""
    seal = seal_function(echo)
    sealed = seal_arguments(((value,), {}), seal)

    (opened,), _ = open_arguments(sealed, echo)
    assert opened == value
    assert not sealed.contains_code
    assert Opener(name="echo").open_value(seal_value(value, echo)) == value


class Large:
    """Holds a buffer, as an array does."""

    def __init__(self, data: Any) -> None:
        self.data = data

    def __reduce_ex__(self, protocol: int) -> Any:
        return Large, (pickle.PickleBuffer(self.data),)


@pytest.mark.parametrize("size", [BUFFER_SIZE - 1, BUFFER_SIZE])
def test_large_buffers_travel_beside_the_pickle(size: int) -> None:
    """Large buffers are not copied into the pickle, nor out of it."""
    data = bytearray(size)
    seal = seal_function(echo)
    sealed = seal_arguments(((Large(data),), {}), seal)

    assert len(sealed.buffers) == (size >= BUFFER_SIZE)
    data[0] = 7
    (opened,), _ = open_arguments(sealed, echo)
    assert opened.data[0] == (7 if sealed.buffers else 0)


@pytest.mark.parametrize(
    ("value", "where"),
    [
        (threading.current_thread(), "cannot travel because of args[0]: a thread belongs to"),
        (
            {"a": [1, {"b": (each for each in "")}]},
            "because of args[0]['a'][1]['b']: cannot pickle",
        ),
        ([sys.__stdin__], "an open file, '<stdin>', belongs to its process"),
    ],
)
def test_argument_that_cannot_be_pickled(value: Any, where: str) -> None:
    """The error names the function, the type, and where in the argument it is."""
    with pytest.raises(FalSerializationError) as caught:
        seal_arguments(((value,), {}), seal_function(echo))

    assert str(caught.value).startswith("An argument of 'echo' cannot travel")
    assert where in str(caught.value)
    assert str(caught.value).endswith("Pass what it is made of, and make it in the function.")
