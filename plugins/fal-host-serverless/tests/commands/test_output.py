"""What commands print: tables and sentences for people, JSON for machines."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs
import pytest

from fal_host_serverless.commands.output import print_values, report, to_plain
from fal_host_serverless.values import KeyScope


@attrs.define
class Row:
    name: str
    since: datetime | None = None
    lasted: timedelta | None = None
    scope: KeyScope | None = None
    machines: list[str] = attrs.field(factory=list)


FULL = Row(
    "full",
    datetime(2031, 2, 3, 4, 5, 6, tzinfo=timezone.utc),
    timedelta(minutes=90, seconds=1.6),
    KeyScope.API,
    ["S", "M"],
)


def show(found: list[Row], *, as_json: bool = False) -> None:
    """Print rows with all of their fields."""
    print_values(
        found,
        ("NAME", "SINCE", "LASTED", "SCOPE", "MACHINES"),
        lambda row: (
            row.name,
            row.since,
            row.lasted,
            row.scope and row.scope.value,
            row.machines,
        ),
        as_json=as_json,
        none="There is no row.",
    )


def test_values_are_a_table_for_people(capsys: Any, monkeypatch: pytest.MonkeyPatch):
    """Times are local to the minute, spans are whole seconds, and what is missing is a dash."""
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    time.tzset()
    try:
        show([FULL, Row("empty")])
    finally:
        monkeypatch.undo()
        time.tzset()
    head, *rows = (line.split("  ") for line in capsys.readouterr().out.splitlines())
    cells = [[cell.strip() for cell in row if cell.strip()] for row in rows]
    assert [cell.strip() for cell in head if cell.strip()] == [
        *("NAME", "SINCE", "LASTED", "SCOPE", "MACHINES")
    ]
    assert cells == [
        ["full", "2031-02-03 13:05", "1:30:02", "API", "S, M"],
        ["empty", "-", "-", "-", "-"],
    ]


def test_values_are_plain_in_json(capsys: Any):
    """Times are ISO texts, spans are seconds, and members of enumerations their values."""
    show([FULL], as_json=True)
    (printed,) = json.loads(capsys.readouterr().out)
    assert printed == to_plain(FULL)
    assert printed == {
        "name": "full",
        "since": "2031-02-03T04:05:06+00:00",
        "lasted": 5401.6,
        "scope": "API",
        "machines": ["S", "M"],
    }


def test_nothing_is_a_sentence_or_an_empty_list(capsys: Any):
    """Without values, people are told so, and machines get no values."""
    show([])
    assert capsys.readouterr().out == "There is no row.\n"
    show([], as_json=True)
    assert json.loads(capsys.readouterr().out) == []


def test_report_is_a_sentence_or_its_facts(capsys: Any):
    """What was done is a sentence for people, and facts for machines."""
    report("It is done.", as_json=False, done=True)
    assert capsys.readouterr().out == "It is done.\n"
    report("It is done.", as_json=True, done=True)
    assert json.loads(capsys.readouterr().out) == {"done": True}
