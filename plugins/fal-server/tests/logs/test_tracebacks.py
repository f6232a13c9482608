"""Tracebacks in logs."""

from __future__ import annotations

import json
import traceback
from collections.abc import Sequence

from fal_server.logs.log_lines import LogLine
from fal_server.logs.runner_lines import Tracebacks


def line(message: str, *, request: str = "r", level: str = "STDERR") -> LogLine:
    return LogLine(
        message=message,
        account_id="a",
        application="app",
        runner_id="r1",
        request_id=request,
        level=level,
    )


def taken(tracebacks: Tracebacks, *lines: LogLine) -> list[tuple[str, str]]:
    found: list[LogLine] = []
    for each in lines:
        found += tracebacks.take(each)
    return [(each.level, each.message) for each in found]


def trace() -> str:
    try:
        raise LookupError("no weights")
    except LookupError:
        return traceback.format_exc().strip()


def test_printed_traceback_is_one_line():
    """
    The lines of a traceback are one line with their text; others stay as they are, also those
    of another request that come in between.
    """
    text = trace()
    first, *rest = text.splitlines()
    lines: Sequence[LogLine] = (
        line("before"),
        line(first),
        line("other", request="s"),
        *map(line, rest),
        line("after"),
    )
    assert taken(Tracebacks(), *lines) == [
        ("STDERR", "before"),
        ("STDERR", "other"),
        ("ERROR", text),
        ("STDERR", "after"),
    ]


def test_record_of_an_error_is_its_traceback():
    """A record in JSON is stored as the traceback in it, and any other record as it is."""
    text = trace()
    other = json.dumps({"message": "Traceback (most recent call last)"})
    for record, found in (
        (json.dumps({"traceback": text}), ("ERROR", text)),
        (json.dumps({"message": "It failed", "traceback": text}), ("ERROR", text)),
        (other, ("STDERR", other)),
        (
            "{Traceback (most recent call last)",
            ("STDERR", "{Traceback (most recent call last)"),
        ),
    ):
        assert taken(Tracebacks(), line(record)) == [found]


def test_traceback_without_an_end():
    """What has no last line is stored when another line shows that, or at the end."""
    tracebacks = Tracebacks()
    first, second, *_ = trace().splitlines()
    assert taken(tracebacks, line(first), line(second), line("")) == [
        ("ERROR", f"{first}\n{second}"),
        ("STDERR", ""),
    ]
    assert taken(tracebacks, line(first), line(first)) == [("STDERR", first)]
    assert [each.message for each in tracebacks.flush()] == [first]
    assert not [*tracebacks.flush()]


def test_traceback_is_held_only_so_long():
    """Neither a traceback of any length nor those of any number of requests are held."""
    tracebacks = Tracebacks()
    first = "Traceback (most recent call last):"
    (found,) = taken(tracebacks, line(first), *[line("  x")] * 1000)
    assert found[1].count("\n") == 1000
    many = taken(tracebacks, *(line(first, request=str(number)) for number in range(65)))
    assert len(many) == 64
