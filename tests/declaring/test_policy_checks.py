"""Policies, checked as options are."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core import function
from fal_core.declaring.policy_checks import check_policy
from fal_core.errors import OptionError
from fal_testing import InProcessHost


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
    """A number out of bounds is an error that names the option and the bound."""
    with pytest.raises(OptionError, match=f"'{name}' must be {least}"):
        check_policy({name: value})


def test_valid_policies_are_accepted() -> None:
    """Bounds themselves are fine."""
    policy = check_policy({"timeout": 0.1, "retries": 0, "grace": 0})
    assert (policy.timeout, policy.retries, policy.grace) == (0.1, 0, 0)


@pytest.mark.parametrize("value", [float("inf"), float("nan"), 1e18])
@pytest.mark.parametrize("name", ["timeout", "grace"])
def test_times_that_no_clock_has_are_refused(name: str, value: float) -> None:
    """A time is a number that the system's clocks can count to; None means no limit."""
    with pytest.raises(OptionError, match=f"'{name}' must be"):
        check_policy({name: value})


def test_unknown_parts_of_a_policy_are_refused() -> None:
    """An unknown part of a policy is an error that suggests the nearest one."""
    add = function("current", host=InProcessHost())(lambda x: x + 1)
    with pytest.raises(OptionError, match="Did you mean 'timeout'"):
        add.with_policy(timout=3)
    with pytest.raises(OptionError, match="Unknown option 'foo'"):
        add.with_policy(foo=1)


@pytest.mark.parametrize(
    ("written", "meant"),
    [("timout", "timeout"), ("retry", "retries"), ("startup_timout", "startup_timeout")],
)
def test_a_declaration_suggests_its_own_keywords_too(written: str, meant: str) -> None:
    """The suggestion for an unknown option may be a keyword of the decorator."""
    with pytest.raises(OptionError, match=f"Did you mean '{meant}'"):
        function("current", host=InProcessHost(), **{written: 3})


@pytest.mark.parametrize("written", ["timeout", "timout"])
def test_a_part_of_the_policy_is_no_option_of_on(written: str) -> None:
    """A part of the policy given to ``on`` is an error that names ``with_policy``."""
    add = function("current", host=InProcessHost())(abs)
    with pytest.raises(OptionError, match=rf"'{written}' is not .* with_policy\(timeout=…\)"):
        add.on(**{written: 3})


def test_a_declaration_takes_the_whole_policy() -> None:
    """Every part of the policy can be written where the function is declared."""
    add = function("current", host=InProcessHost(), grace=1, lifetime="detached")(abs)
    assert (add.policy.grace, add.policy.lifetime) == (1, "detached")
