"""Options that were given by position."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import OptionError, function
from fal_testing import InProcessHost


@pytest.mark.parametrize(
    ("given", "written"),
    [
        (("virtualenv", ["x"]), 'requirements=["x"]'),
        (("virtualenv", "x"), 'requirements="x"'),
        (("conda", ["x"]), 'packages=["x"]'),
        (("container", "python:3.11"), 'image="python:3.11"'),
        (("current", ["x"]), 'NAME=["x"]'),
        (("virtualenv", ["x"], 3), 'requirements=["x"], NAME=3'),
        ((["x"], "y"), 'NAME="y"'),
    ],
)
def test_the_error_shows_how_it_is_written(given: tuple[Any, ...], written: str) -> None:
    """The error names the keyword that the value most likely belongs to."""
    with pytest.raises(OptionError) as caught:
        function(*given)
    assert str(caught.value) == f"Options are keywords: {written}."


def test_a_host_is_known() -> None:
    """A host is told from an option."""
    with pytest.raises(OptionError, match="Options are keywords: host="):
        function("current", InProcessHost())  # type: ignore[call-overload]  # as users write it
