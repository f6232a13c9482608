"""Lines of logs: as values, and as rows of the database."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.state.databases import metadata
from fal_server.state.texts import LowerCase, MayContain, valid_text

logs = sa.Table(
    "logs",
    metadata,
    sa.Column("number", sa.BigInteger, primary_key=True),
    #: Microseconds since the epoch.
    sa.Column("time", sa.BigInteger, nullable=False),
    sa.Column("account_id", sa.String, nullable=False),
    sa.Column("application", sa.String, nullable=False),
    sa.Column("runner_id", sa.String, nullable=False),
    sa.Column("request_id", sa.String),
    sa.Column("level", sa.String, nullable=False),
    sa.Column("source", sa.String, nullable=False),
    sa.Column("message", sa.String, nullable=False),
    sa.Index("logs_of_account", "account_id", "time"),
    sa.Index("logs_of_runner", "runner_id", "time"),
    sa.Index("logs_of_request", "request_id"),
)

#: The levels of lines, and how severe each is. Output that names none is as an INFO: programs
#: write to standard error everything that is no result.
LEVELS: Mapping[str, int] = {
    "TRACE": 0,
    "DEBUG": 1,
    "STDOUT": 2,
    "STDERR": 2,
    "INFO": 2,
    "WARNING": 3,
    "ERROR": 4,
}

#: What each traceback has.
TRACEBACK = "Traceback (most recent call last)"

#: The longest id of a request that is stored whole, in characters.
_LONGEST_ID = 1024

#: What a line costs besides its message, in bytes: its other columns, and the indexes.
OVERHEAD = 200

#: The end of the year 9999, in seconds since the epoch.
_LATEST = 253_402_300_800


@attrs.frozen(kw_only=True)
class LogLine:
    """
    A line of a runner's log.

    Attributes:
        time: Seconds since the epoch.

        account_id: The owner of the runner.

        application: The alias of the application, or the name of the function.

        number: Its place in the order in which lines came; set when it is stored.
    """

    message: str
    account_id: str
    application: str
    runner_id: str
    request_id: str | None = None
    level: str = "STDOUT"
    source: str = "USER"
    time: float = attrs.field(factory=time.time)
    number: int = 0


@attrs.frozen(kw_only=True)
class LogFilter:
    """
    Selects lines of one account; all conditions must hold.

    Attributes:
        search: A text that the message contains, ignoring case.

        level: The lowest level, as one of :data:`LEVELS`.

        tracebacks: Whether to leave out what is no traceback.

        since: The earliest time, included.

        until: The latest time, included.

        after: The number of the last line that is known already.
    """

    account_id: str
    application: str | None = None
    runner_id: str | None = None
    request_id: str | None = None
    search: str | None = None
    level: str | None = None
    tracebacks: bool = False
    since: float | None = None
    until: float | None = None
    after: int | None = None

    def matches(self, line: LogLine) -> bool:
        """Return whether *line* is selected."""
        named = (
            (self.account_id, line.account_id),
            (self.application, line.application),
            (self.runner_id, line.runner_id),
            (self.request_id, line.request_id),
        )
        return (
            all(wanted is None or wanted == found for wanted, found in named)
            and (self.search is None or self.search.lower() in line.message.lower())
            and (self.level is None or line.level not in _below(self.level))
            and (not self.tracebacks or TRACEBACK.lower() in line.message.lower())
            and (self.since is None or line.time >= self.since)
            and (self.until is None or line.time <= self.until)
            and (self.after is None or line.number > self.after)
        )

    def condition(self, *, in_place: bool = False) -> sa.ColumnElement[bool]:
        """
        Return the same condition for the database.

        Arguments:
            in_place: Whether lines are read as they lie in the table, without the index of
                their accounts.
        """
        columns = (
            (logs.c.account_id.concat("") if in_place else logs.c.account_id, self.account_id),
            (logs.c.application, self.application),
            (logs.c.runner_id, self.runner_id),
            (logs.c.request_id, self.request_id),
        )
        named = [column == wanted for column, wanted in columns if wanted is not None]
        parts = [] if in_place else named
        if self.level is not None:
            parts.append(logs.c.level.not_in(_below(self.level)))
        for text in (self.search, TRACEBACK if self.tracebacks else None):
            if text is not None:
                parts.append(MayContain(logs.c.message, text))
                message = LowerCase(logs.c.message)
                parts.append(message.contains(text.lower(), autoescape=True))
        if self.since is not None:
            parts.append(logs.c.time >= to_micros(self.since))
        if self.until is not None:
            parts.append(logs.c.time <= to_micros(self.until))
        if self.after is not None:
            parts.append(logs.c.number > self.after)
        # What is quick to look at, and leaves most lines out, comes first.
        return sa.and_(*parts, *(named if in_place else ()))


def _below(level: str) -> Sequence[str]:
    """Return the levels that are lower than *level*."""
    names = [*LEVELS]
    lowest = LEVELS[level]
    return [name for name in names if LEVELS[name] < lowest]


def to_micros(seconds: float) -> int:
    """Return *seconds* in microseconds, as in the database."""
    return round(seconds * 1_000_000)


def size_of(line: LogLine) -> int:
    """Return what a line costs, in bytes."""
    message = line.message
    # As `octet_length` of the database counts.
    bytes_of_it = len(message) if message.isascii() else len(message.encode("utf-8", "replace"))
    return bytes_of_it + OVERHEAD


def shorten(text: str, longest: int) -> str:
    """Return *text* with at most *longest* characters, and how many were left out."""
    if len(text) <= longest:
        return text
    return f"{text[:longest]} … ({len(text) - longest:,} more characters)"


def numbered(line: LogLine, number: int) -> LogLine:
    """
    Return *line* with its *number*, as it can be stored: with text alone, and with the
    present time instead of one that no calendar has.

    Code of users runs in the process that sends the lines, and no line may hold up others.
    """
    message = valid_text(line.message)
    id = line.request_id
    request_id = None if id is None else valid_text(id[:_LONGEST_ID])
    # attrs.evolve takes several times as long, and there are many lines.
    return LogLine(
        message=message,
        account_id=line.account_id,
        application=line.application,
        runner_id=line.runner_id,
        request_id=request_id,
        level=line.level,
        source=line.source,
        time=line.time if 0 <= line.time < _LATEST else time.time(),
        number=number,
    )


def to_row(line: LogLine) -> Mapping[str, Any]:
    return {
        "message": line.message,
        "account_id": line.account_id,
        "application": line.application,
        "runner_id": line.runner_id,
        "request_id": line.request_id,
        "level": line.level,
        "source": line.source,
        "time": to_micros(line.time),
        "number": line.number,
    }


def from_row(row: sa.Row[Any]) -> LogLine:
    return LogLine(**{**row._mapping, "time": row.time / 1_000_000})
