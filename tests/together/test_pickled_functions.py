"""Isolated functions that are pickled or copied."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import cloudpickle
import pytest

from fal_core import function


@pytest.fixture
def found_nowhere() -> Any:
    """An isolated function of a module that cannot be imported."""
    module: dict[str, Any] = {"__name__": "found_nowhere"}
    exec("def increment(number):\n    return number + 1\n", module)
    return function("current", host="local")(module["increment"])


def test_error_for_a_function_that_pickle_cannot_find(found_nowhere: Any) -> None:
    """A function whose module cannot be imported is refused by name as a plain one is."""
    with pytest.raises(pickle.PicklingError, match="found_nowhere"):
        pickle.dumps(found_nowhere)


def test_copy_is_called_as_the_original(found_nowhere: Any) -> None:
    """A copy, and a function that has travelled by value, have the function and the host."""
    assert copy.copy(found_nowhere)(2) == 3
    travelled = pickle.loads(cloudpickle.dumps(found_nowhere))
    assert travelled(2) == 3
    travelled.host.close()
