"""Paths of endpoints, with parameters."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import OptionError
from fal_serve import App, endpoint
from fal_serve.declaring.paths import fill_path, path_shape


def nothing(self: Any) -> None: ...


def copy(function: Any) -> Any:
    return type(function)(function.__code__, globals(), function.__name__)


@pytest.mark.parametrize(
    ("path", "sentence"),
    [
        ("/a{", "'/a{' of endpoint 'nothing' has a brace"),
        ("/a}/{x}", "has a brace"),
        ("/{a-b}", "has a brace"),
        ("/{a}/{a}", "has the parameter 'a' 2 times"),
        ("/{a:number}", "no known kind of parameter in '{a:number}'. Known: float, int"),
    ],
)
def test_path_that_cannot_be_is_refused(path: str, sentence: str):
    """The decorator refuses wrong parameters of a path, and says how they are written."""
    with pytest.raises(OptionError, match=sentence):
        endpoint(path)(copy(nothing))


def test_paths_may_differ_in_the_kinds_of_their_parameters():
    """Paths with different converters do not clash."""

    class Fine(App):
        by_number = endpoint("/{x:int}")(copy(nothing))
        by_name = endpoint("/{x}")(copy(nothing))
        below = endpoint("/a/{x:path}")(copy(nothing))
        fixed = endpoint("/a")(copy(nothing))

    assert len(Fine.get_endpoints()) == 4


def test_paths_of_one_shape_match_the_same():
    """The name of a parameter is no part of the shape, and its kind is; text is the default."""
    assert path_shape("/{a}/{b:int}/c") == path_shape("/{x:str}/{y:int}/c")
    assert path_shape("/{a:int}") != path_shape("/{a:float}")


def test_values_are_filled_into_a_path_and_taken_away():
    """Values are escaped, except for slashes; those without a parameter stay for the query."""
    values = {"name": "a b?c", "rest": "d/e", "loud": "True"}
    assert fill_path("/{name}/{rest:path}", values) == "/a%20b%3Fc/d/e"
    assert values == {"loud": "True"}
    assert fill_path("/{name}", {}) == "/{name}"
