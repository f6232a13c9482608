"""Lines of logs: their limits, and how they are selected."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import sqlalchemy as sa
from kept_lines import history

from fal_server.logs.log_lines import LogFilter, LogLine, from_row, logs, numbered, to_row
from fal_server.state.databases import Database

#: Lines of two accounts, each at another second.
LINES = [
    numbered(LogLine(message=message, **where, time=float(number)), number)
    for number, (message, where) in enumerate(
        itertools.product(
            ("plain", "ÀÉ", "àé", "100% a_b", "a\\b", "273 \u212aelvin, \u0130"),
            (
                {"account_id": "me", "application": "app", "runner_id": "r1"},
                {
                    "account_id": "me",
                    "application": "App",
                    "runner_id": "r2",
                    "request_id": "q",
                },
                {"account_id": "other", "application": "app", "runner_id": "r1"},
            ),
        ),
        1,
    )
]


@pytest.fixture
def database(database: Database, database_url: str) -> Database:
    """A database that has the lines."""
    rows = [to_row(line) for line in LINES]
    database.write_here(lambda connection: connection.execute(logs.insert(), rows))
    return database


@pytest.mark.parametrize(
    ("wanted", "count"),
    [
        ({}, 12),
        ({"application": "App"}, 6),
        ({"runner_id": "r1"}, 6),
        ({"request_id": "q"}, 6),
        ({"search": "Kelvin"}, 2),
        ({"search": "i"}, 4),
        ({"search": "PLAIN"}, 2),
        ({"search": "àÉ"}, 4),
        ({"search": "%"}, 2),
        ({"search": "a_b"}, 2),
        ({"search": "\\"}, 2),
        ({"search": "/"}, 0),
        ({"since": 2.0, "until": 5.0}, 3),
        ({"after": 13}, 3),
        ({"application": "app", "search": "é", "since": 5.0}, 1),
    ],
)
def test_new_lines_are_selected_like_stored_ones(
    database: Database, wanted: dict[str, Any], count: int
):
    """
    A filter selects the same lines when they come as it does in the database, and ignores
    the case of all letters.
    """
    filter = LogFilter(account_id="me", **wanted)
    query = sa.select(logs).where(filter.condition()).order_by(logs.c.number)
    rows = database.read_here(lambda connection: connection.execute(query).all())
    found = [from_row(row) for row in rows]
    assert found == [line for line in LINES if filter.matches(line)]
    assert len(found) == count


@pytest.mark.parametrize(
    "fields",
    [
        {"request_id": "caf\udce9"},
        {"time": float("nan")},
        {"time": float("inf")},
        {"time": -1e300},
        {"time": 1e15},
    ],
    ids=str,
)
def test_line_that_cannot_be_stored_holds_up_no_others(plane, add_lines, runner_id, fields):
    """
    A line is stored even if its request or its time is none that can be: code of users runs
    where lines come from, and all lines are written together.
    """
    add_lines("strange", **fields)
    add_lines("after")
    with plane.client() as client:
        found = history(client, job_id=runner_id)["items"]
    assert {item["message"] for item in found} == {"strange", "after"}
