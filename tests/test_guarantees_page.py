"""
The page of guarantees covers every way of calling, and names tests that exist.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

TESTS = str(Path(__file__).resolve().parent)
sys.path.insert(0, TESTS)

from house.named_tests import (  # noqa: E402  # the path comes first
    Name,
    is_there,
    names_in,
    read_page,
)

sys.path.remove(TESTS)

PAGE = read_page("guarantees.md")

#: The tables: what each way of calling promises, and what happens when something dies.
PROMISES, DEATHS = (
    [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    for table in re.findall(r"(?:^\|.*\n)+", PAGE, re.MULTILINE)
)

#: The ways of calling that both tables have.
WAYS = (
    *("`f(x)`", "`submit`", "`spawn`", "detached work", "item of a `map`", "stream"),
    *("request to the run gateway", "queued request", "webhook"),
)


def test_each_row_names_a_test():
    """
    Every row of what happens when something dies ends with a test.
    """
    assert [len(names_in(row[-1])) for row in DEATHS] == [1] * len(DEATHS)
    assert len(names_in(PAGE)) == len(DEATHS) > 30


@pytest.mark.parametrize("way", WAYS)
def test_way_of_calling_is_there(way: str):
    """
    Each way of calling has its promise, and a row for at least two things that may die.
    """
    assert any(way in row[0] for row in PROMISES)
    assert len([row for row in DEATHS if row[0].startswith(way)]) >= 2


@pytest.mark.parametrize("name", sorted({*names_in(PAGE)}), ids="::".join)
def test_test_of_a_guarantee_exists(name: Name):
    """
    The test that a row names is there.
    """
    assert is_there(name)
