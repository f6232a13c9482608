"""
A plugin of pytest that writes down which test ran in which process of xdist, and when.

It is copied into environments of tests, and needs nothing but pytest.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

_failed: set[str] = set()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that names the file."""
    parser.addoption("--record", metavar="FILE", help="Where tests are written down.")


def pytest_collection_finish(session: pytest.Session) -> None:
    """Write down the names of the tests where none of them is run."""
    if session.config.option.collectonly:
        for item in session.items:
            _write(session.config, {"listed": item.nodeid})


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Notice tests that fail, in whatever part of them."""
    if report.failed:
        _failed.add(report.nodeid)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """Write down a test with its fixtures."""
    begun = time.time_ns()
    try:
        return (yield)
    finally:
        record = {
            "test": item.nodeid,
            "worker": os.environ.get("PYTEST_XDIST_WORKER", ""),
            "begun": begun,
            "ended": time.time_ns(),
            "failed": item.nodeid in _failed,
        }
        _write(item.config, record)


def _write(config: pytest.Config, record: dict[str, Any]) -> None:
    with open(config.option.record, "a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
