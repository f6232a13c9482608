"""Validators: bounds of options, which are checked whenever a class of options is made."""

from __future__ import annotations

import math

import attrs
import pytest

from fal_core.errors import OptionValueError
from fal_core.validators import (
    MOST_SECONDS,
    at_least,
    between,
    more_than,
    no_less_than,
    seconds,
)


@attrs.frozen(kw_only=True)
class Bounded:
    """An option for each kind of bound."""

    least: float | None = attrs.field(default=None, validator=at_least(1))
    more: float | None = attrs.field(default=None, validator=more_than(0))
    port: int | None = attrs.field(default=None, validator=between(0, 65535))
    most: float | None = attrs.field(default=None, validator=no_less_than("least"))
    wait: float | None = attrs.field(default=None, validator=seconds(at_least(0)))
    _hidden: int = attrs.field(default=1, alias="_hidden", validator=at_least(1))


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"least": 1, "more": 1e-9, "port": 0, "wait": 0},
        {"port": 65535, "wait": MOST_SECONDS, "least": math.inf},
        {"least": 3, "most": 3},
        {"most": 1},
        {"least": None, "more": None, "port": None, "most": None, "wait": None},
    ],
)
def test_values_at_their_bounds_are_taken(values: dict[str, float]) -> None:
    """A bound belongs to what is allowed, and None is not set."""
    made = Bounded(**values)
    assert {name: getattr(made, name) for name in values} == values


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"least": 0}, "'least' must be at least 1, not 0."),
        ({"least": 0.5}, "'least' must be at least 1, not 0.5."),
        # What the user wrote as an integer is shown as one.
        ({"least": -3.0}, "'least' must be at least 1, not -3."),
        ({"least": math.nan}, "'least' must be at least 1, not nan."),
        ({"more": 0}, "'more' must be more than 0, not 0."),
        ({"port": -1}, "'port' must be from 0 to 65535, not -1."),
        ({"port": 65536}, "'port' must be from 0 to 65535, not 65536."),
        (
            {"least": 3, "most": 2},
            "'most' must be at least 3, which option 'least' asks for, not 2.",
        ),
        ({"wait": -1}, "'wait' must be at least 0, not -1."),
        ({"wait": 1e10}, "'wait' must be 30 years at most, in seconds, not 10000000000."),
        ({"_hidden": 0}, "'_hidden' must be at least 1, not 0."),
    ],
)
def test_values_out_of_bounds_are_refused(values: dict[str, float], said: str) -> None:
    """The error has the name of the option as it is written, its bounds and its value."""
    with pytest.raises(OptionValueError) as caught:
        Bounded(**values)
    assert str(caught.value) == f"Option {said}"
