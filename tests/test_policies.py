"""
Timeouts, retries and the like are checked where they are written.
"""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.errors import OptionError
from fal_core.policies import check_policy


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [
        ("timeout", -1, "more than 0"),
        ("timeout", 0, "more than 0"),
        ("retries", -1, "at least 0"),
        ("grace", -0.5, "at least 0"),
    ],
)
def test_numbers_that_make_no_sense_are_refused(name: str, value: Any, least: str) -> None:
    """
    A number out of bounds is an error that names the option and the bound.
    """
    with pytest.raises(OptionError, match=f"'{name}' must be {least}"):
        check_policy({name: value})


def test_what_makes_sense_is_taken() -> None:
    """
    Bounds themselves are fine.
    """
    policy = check_policy({"timeout": 0.1, "retries": 0, "grace": 0})
    assert (policy.timeout, policy.retries, policy.grace) == (0.1, 0, 0)
