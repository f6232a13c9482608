"""Searches for a text: whatever way the lines are found, they are the same."""

from __future__ import annotations

import random
from collections.abc import Sequence

import attrs
import pytest

from fal_server.logs.log_lines import LogFilter, LogLine, from_row, logs, to_row
from fal_server.logs.logs import newest_lines
from fal_server.state.databases import Database

#: How many lines are kept.
COUNT = 300

_WORDS = ("Rare", "plain", "PLAIN", "Traceback (most recent call last)")


@pytest.fixture
def lines(database: Database) -> Sequence[LogLine]:
    """Lines of three accounts, of which one has most."""
    chosen = random.Random(5)
    made = [
        LogLine(
            message=f"{chosen.choice(_WORDS)} {n % 7}",
            account_id=chosen.choice(("most", "most", "most", "most", "few", "none")),
            application=chosen.choice(("app", "other")),
            runner_id=f"runner{n % 3}",
            level=chosen.choice(("INFO", "ERROR")),
            time=1000.0 + n // 3,
            number=n,
        )
        for n in range(1, COUNT + 1)
    ]
    rows = [to_row(line) for line in made]
    database.write_here(lambda connection: connection.execute(logs.insert(), rows))
    return made


@pytest.mark.parametrize(("few", "newest"), [(50_000, 10_000), (0, 0), (0, 30), (10, 200)])
@pytest.mark.parametrize("account", ["most", "few"])
def test_lines_are_the_same_whatever_way_they_are_found(
    database: Database,
    lines: Sequence[LogLine],
    monkeypatch: pytest.MonkeyPatch,
    few: int,
    newest: int,
    account: str,
):
    """
    The newest lines that match are found, in their order: by the index of times, among the
    newest, and in the whole table.
    """
    monkeypatch.setattr("fal_server.logs.logs._FEW", few)
    monkeypatch.setattr("fal_server.logs.logs._NEWEST", newest)
    plain = LogFilter(account_id=account)
    for changes in (
        {"search": "rare"},
        {"search": "rare 3", "application": "app", "level": "ERROR"},
        {"search": "nowhere"},
        {"search": "plain", "since": 1020.0, "until": 1080.0},
        {"search": "a", "after": 40},
        {"tracebacks": True},
        {"search": "plain", "runner_id": "runner1"},
        {},
    ):
        filter = attrs.evolve(plain, **changes)
        matching = [line for line in reversed(lines) if filter.matches(line)]
        for size in (1, 7, COUNT):
            rows = database.read_here(lambda connection: newest_lines(connection, filter, size))  # noqa: B023, it is called at once
            assert [from_row(row) for row in rows] == matching[:size], changes
