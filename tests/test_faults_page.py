"""The page of faults names tests that exist."""

from __future__ import annotations

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

PAGE = read_page("faults.md")


def test_each_fault_names_a_test():
    """Every row of the table ends with a test."""
    rows = [line for line in PAGE.splitlines() if line.startswith("|")][2:]
    assert len(rows) == len(names_in(PAGE)) > 20


def test_the_test_of_a_fault_exists():
    """The test that a row names is there."""
    assert ["::".join(name) for name in names_in(PAGE) if not is_there(name)] == []
