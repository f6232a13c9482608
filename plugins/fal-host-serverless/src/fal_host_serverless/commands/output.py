"""What commands print: tables and sentences for people, JSON for machines."""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Any

import attrs
import click

from fal_core.cli import print_json, print_table


def report(sentence: str, *, as_json: bool, **facts: Any) -> None:
    """Report what was done: print *sentence*, or *facts* as JSON."""
    if as_json:
        print_json(facts)
    else:
        click.echo(sentence)


def print_values(
    found: Sequence[Any],
    headings: Sequence[str],
    row: Callable[[Any], Sequence[Any]],
    *,
    as_json: bool,
    none: str,
) -> None:
    """
    Print values as a table, or as JSON.

    Arguments:
        row: Returns the cells of a value, one for each of *headings*.

        none: The sentence for an empty table.
    """
    if as_json:
        print_json([to_plain(each) for each in found])
    elif not found:
        click.echo(none)
    else:
        print_table(headings, [[_cell(value) for value in row(each)] for each in found])


def to_plain(value: Any) -> Any:
    """Return *value* as JSON values."""
    return attrs.asdict(value, value_serializer=_serialize)


def _serialize(_: Any, __: Any, value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, datetime):
        return value.isoformat()
    return value.value if isinstance(value, enum.Enum) else value


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, datetime):
        return value.astimezone().strftime("%Y-%m-%d %H:%M")
    if isinstance(value, timedelta):
        return str(timedelta(seconds=round(value.total_seconds())))
    return str(value)
