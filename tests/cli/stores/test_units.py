"""Sizes and ages, as people write and read them."""

from __future__ import annotations

import time

import click
import pytest

from fal_core.cli.stores.units import Age, Size, format_age


@pytest.mark.parametrize(
    ("text", "count"),
    [("0", 0), ("1.5kB", 1500), ("2GB", 2 * 10**9), ("1 GiB", 2**30), ("3t", 3e12)],
)
def test_sizes_are_read(text: str, count: int) -> None:
    """A size is a number and a unit, decimal or binary."""
    assert Size().convert(text, None, None) == count


@pytest.mark.parametrize("text", ["", "much", "-1", "2GX", "5iB", "12"])
def test_wrong_sizes_are_refused(text: str) -> None:
    """The error quotes the value and shows how a size is written."""
    with pytest.raises(click.BadParameter, match="as in 500MB"):
        Size().convert(text, None, None)


@pytest.mark.parametrize(
    ("text", "seconds"), [("45s", 45), ("90min", 5400), ("1.5h", 5400), ("2d", 172800)]
)
def test_ages_are_read(text: str, seconds: float) -> None:
    """An age is a number and a unit."""
    assert Age().convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "30", "3m", "-1d", "d"])
def test_wrong_ages_are_refused(text: str) -> None:
    """The error quotes the value and shows how an age is written."""
    with pytest.raises(click.BadParameter, match="as in 12h"):
        Age().convert(text, None, None)


def test_ages_are_written() -> None:
    """Numbers have few digits and a unit."""
    now = time.time()
    assert format_age(now - 3 * 86400 - 5) == "3 d"
    assert format_age(now - 7205) == "2 h"
    assert format_age(now + 100) == "0 s"
