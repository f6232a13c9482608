"""The page of guarantees covers every way of calling, and names tests that exist."""

from __future__ import annotations

import re
import sys
from pathlib import Path

TESTS = str(Path(__file__).resolve().parent)
sys.path.insert(0, TESTS)

from house.named_tests import (  # noqa: E402  # the path comes first
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
    """Every row of what happens when something dies ends with a test."""
    assert [len(names_in(row[-1])) for row in DEATHS] == [1] * len(DEATHS)
    assert len(names_in(PAGE)) == len(DEATHS) > 30


def test_way_of_calling_is_there():
    """Each way of calling has its promise, and a row for at least two things that may die."""
    deaths = {way: [row for row in DEATHS if row[0].startswith(way)] for way in WAYS}
    assert [way for way in WAYS if not any(way in row[0] for row in PROMISES)] == []
    assert [way for way in WAYS if len(deaths[way]) < 2] == []


def test_test_of_a_guarantee_exists():
    """The test that a row names is there."""
    assert ["::".join(name) for name in names_in(PAGE) if not is_there(name)] == []
