"""
Measurements: how many requests each application had, and how long they took.

They are kept in three lengths of time, each for a while: short ones for the last minutes, and
longer ones for the last days and weeks. Where nothing happened there is no row.
"""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.state.databases import Database, metadata
from fal_server.state.upserts import put

measurements = sa.Table(
    "measurements",
    metadata,
    sa.Column("account_id", sa.String, primary_key=True),
    sa.Column("alias", sa.String, primary_key=True),
    #: The seconds that a row stands for, and when they began, since the epoch.
    sa.Column("step", sa.Integer, primary_key=True),
    sa.Column("begun_at", sa.BigInteger, primary_key=True),
    sa.Column("requests", sa.BigInteger, nullable=False),
    sa.Column("errors", sa.BigInteger, nullable=False),
    sa.Column("runners", sa.Integer, nullable=False),
    sa.Column("waiting", sa.BigInteger, nullable=False),
    #: A JSON object: how many requests fell into each bucket of durations.
    sa.Column("durations", sa.String, nullable=False),
    sa.Index("measurements_by_age", "step", "begun_at"),
)

#: The seconds of a row, and for how many seconds such rows are kept.
KEPT: Mapping[int, float] = {15: 3600.0, 300: 2 * 86400.0, 3600: 31 * 86400.0}

#: The shortest step, in which measurements are taken.
STEP = min(KEPT)

#: The shortest duration that is told from others, in seconds, and how much longer the next is.
_SHORTEST, _RATIO = 0.001, 1.2

#: The last bucket, of two hours and more.
_LAST_BUCKET = 86

Name = tuple[str, str]


def bucket_of(seconds: float) -> int:
    """Return the bucket of a duration."""
    if seconds <= _SHORTEST:
        return 0
    return min(_LAST_BUCKET, math.ceil(math.log(seconds / _SHORTEST, _RATIO)))


@attrs.define(eq=True)
class Tally:
    """
    What was counted of an application for a while.

    Attributes:
        runners: The most runners at once.

        waiting: The most requests that waited at once.

        durations: How many requests fell into each bucket.
    """

    requests: int = 0
    errors: int = 0
    runners: int = 0
    waiting: int = 0
    durations: Counter[int] = attrs.field(factory=Counter)

    def observe(self, seconds: float, *, failed: bool) -> None:
        """Count a request."""
        self.requests += 1
        self.errors += failed
        self.time(seconds)

    def time(self, seconds: float) -> None:
        """Count how long a request took that was counted when it came."""
        self.durations[bucket_of(seconds)] += 1

    def merge(self, other: Tally) -> None:
        """Add what was counted in another length of time."""
        self.requests += other.requests
        self.errors += other.errors
        self.runners = max(self.runners, other.runners)
        self.waiting = max(self.waiting, other.waiting)
        self.durations.update(other.durations)

    def percentile(self, share: float) -> float | None:
        """
        Return the seconds within which a *share* of the requests was answered, about a tenth
        too long at most. None where there was none.
        """
        left = share * sum(self.durations.values())
        for bucket, count in sorted(self.durations.items()):
            left -= count
            if left <= 0:
                return _SHORTEST * _RATIO ** (bucket - 0.5 if bucket else 0)
        return None


@attrs.frozen
class Measured:
    """What was counted from a time on, in seconds since the epoch."""

    begun_at: int
    tally: Tally


class Measurements:
    """Stores measurements."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, tallies: Mapping[Name, Tally], now: float) -> None:
        """Add what was counted since the last time."""

        def write(connection: sa.Connection) -> None:
            for (account_id, alias), tally in tallies.items():
                for step in KEPT:
                    key = {
                        "account_id": account_id,
                        "alias": alias,
                        "step": step,
                        "begun_at": int(now // step) * step,
                    }
                    _add(connection, key, tally)

        await self._database.write(write)

    async def read(
        self, account_id: str, alias: str, step: int, since: float
    ) -> Sequence[Measured]:
        """Return what was counted of an application, the oldest first."""
        chosen = (
            (measurements.c.account_id == account_id)
            & (measurements.c.alias == alias)
            & (measurements.c.step == step)
            & (measurements.c.begun_at >= since)
        )
        query = sa.select(measurements).where(chosen).order_by(measurements.c.begun_at)
        rows = await self._database.read(lambda connection: list(connection.execute(query)))
        return [Measured(row.begun_at, _to_tally(row)) for row in rows]

    async def delete_old(self, now: float | None = None) -> None:
        """Delete what is kept no longer."""
        now = time.time() if now is None else now
        old = [
            (measurements.c.step == step) & (measurements.c.begun_at < now - kept)
            for step, kept in KEPT.items()
        ]
        await self._database.write(
            lambda connection: connection.execute(measurements.delete().where(sa.or_(*old)))
        )


def _add(connection: sa.Connection, key: Mapping[str, Any], tally: Tally) -> None:
    here = sa.and_(*(measurements.c[name] == value for name, value in key.items()))
    row = connection.execute(sa.select(measurements).where(here)).first()
    whole = Tally() if row is None else _to_tally(row)
    whole.merge(tally)
    counted = attrs.asdict(whole, recurse=False)
    counted["durations"] = json.dumps(whole.durations)
    put(connection, measurements, {**key, **counted})


def _to_tally(row: sa.Row[Any]) -> Tally:
    durations = Counter({int(name): count for name, count in json.loads(row.durations).items()})
    return Tally(row.requests, row.errors, row.runners, row.waiting, durations)


def merge_all(tallies: Iterable[Tally]) -> Tally:
    """Return what was counted in several lengths of time together."""
    whole = Tally()
    for each in tallies:
        whole.merge(each)
    return whole
