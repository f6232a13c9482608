"""
Records of the runners of applications.

A runner is recorded before it is launched, so that a server that is started again after
it was killed finds the runner.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import attrs
import sqlalchemy as sa

from fal_server.errors import NotFound
from fal_server.state.databases import Database, metadata

runners = sa.Table(
    "runners",
    metadata,
    sa.Column("id", sa.String, primary_key=True),
    sa.Column("account_id", sa.String, nullable=False, index=True),
    sa.Column("alias", sa.String, nullable=False),
    sa.Column("revision", sa.String, nullable=False),
    sa.Column("token", sa.String, nullable=False),
    sa.Column("reference", sa.String, nullable=False),
    sa.Column("machine_type", sa.String, nullable=False),
    sa.Column("started_at", sa.Float, nullable=False),
    sa.Column("ended_at", sa.Float),
    # The host that it is on; none where there was but one when it was launched.
    sa.Column("host", sa.String),
    # The machine that it cannot be reached from elsewhere than. Empty for a host of many.
    sa.Column("machine", sa.String, nullable=False, server_default=""),
)


#: The most records of ended runners that are returned at once.
_MOST = 1000


@attrs.frozen(kw_only=True)
class RunnerRecord:
    """
    What a server needs to find a runner again.

    Attributes:
        machine: The machine that it is on, where other machines do not reach it. Otherwise
            empty.
    """

    id: str
    account_id: str
    alias: str
    revision: str
    token: str = attrs.field(repr=False)
    reference: str
    machine_type: str
    started_at: float
    ended_at: float | None = None
    host: str | None = None
    machine: str = ""


@attrs.frozen(kw_only=True)
class RunnerTimes:
    """When a runner started and ended. None where it has not yet."""

    started_at: float | None
    ended_at: float | None


def read_references(connection: sa.Connection) -> frozenset[str]:
    """Return the references of all recorded runners on their hosts."""
    return frozenset(connection.scalars(sa.select(runners.c.reference)))


def read_unfinished(connection: sa.Connection) -> Mapping[str, str]:
    """
    Return the aliases of the runners that have not ended as far as is recorded, by their
    references on their host.
    """
    chosen = sa.select(runners.c.reference, runners.c.alias)
    unfinished = chosen.where(runners.c.ended_at.is_(None)).order_by(runners.c.started_at)
    return {row.reference: row.alias for row in connection.execute(unfinished)}


def read_elsewhere(connection: sa.Connection, machine: str) -> Sequence[str]:
    """
    Return the aliases of the runners that have not ended as far as is recorded, and that
    cannot be reached from *machine*.
    """
    is_there = runners.c.machine.not_in(("", machine))
    chosen = sa.select(runners.c.alias).where(runners.c.ended_at.is_(None), is_there)
    return list(connection.scalars(chosen.order_by(runners.c.started_at)))


def end_all(connection: sa.Connection, machine: str, hosts: Collection[str]) -> None:
    """Record that the runners of a machine on these hosts have ended."""
    is_here = (runners.c.machine == machine) & runners.c.ended_at.is_(None)
    is_there = runners.c.host.is_(None) | runners.c.host.in_(hosts)
    ended = runners.update().where(is_here & is_there)
    connection.execute(ended.values(ended_at=time.time()))


class RunnerRecords:
    """Stores records of runners."""

    def __init__(self, database: Database) -> None:
        self._database = database

    @property
    def database(self) -> Database:
        """The database in which they are."""
        return self._database

    async def add(self, record: RunnerRecord) -> None:
        """Record a runner."""
        added = runners.insert().values(attrs.asdict(record))
        await self._database.write(lambda connection: connection.execute(added))

    async def end(
        self, runner_id: str, ended_at: float | None = None, *, fenced: bool = True
    ) -> None:
        """
        Record the end of a runner, now if *ended_at* is None.

        Arguments:
            fenced: Whether only the server that decides may.
        """
        chosen = runners.update().where(runners.c.id == runner_id)
        ended = chosen.values(ended_at=time.time() if ended_at is None else ended_at)
        await self._database.write(lambda connection: connection.execute(ended), fenced=fenced)

    async def unfinished(self) -> Sequence[RunnerRecord]:
        """Return the records of runners that have not ended."""
        chosen = sa.select(runners).where(runners.c.ended_at.is_(None))
        return await self._database.read(
            lambda connection: [_to_record(row) for row in connection.execute(chosen)]
        )

    async def ended(
        self, account_id: str, since: float, alias: str | None = None
    ) -> Sequence[RunnerRecord]:
        """
        Return the records of an account's runners, or those of one alias, that have ended
        *since* a time in seconds since the epoch; the latest is first.
        """
        chosen = (runners.c.account_id == account_id) & (runners.c.ended_at >= since)
        if alias is not None:
            chosen &= runners.c.alias == alias
        query = sa.select(runners).where(chosen).order_by(runners.c.ended_at.desc())
        return await self._database.read(
            lambda connection: [
                _to_record(row) for row in connection.execute(query.limit(_MOST))
            ]
        )

    async def times(self, account_id: str, runner_id: str) -> RunnerTimes:
        """
        Return when a runner of an account started and ended.

        Raises:
            NotFound: There is no such runner.
        """
        is_it = (runners.c.id == runner_id) & (runners.c.account_id == account_id)
        query = sa.select(runners).where(is_it)
        row = await self._database.read(lambda connection: connection.execute(query).first())
        if row is None:
            raise NotFound(f"Runner {runner_id[:80]!r} was not found.")
        return RunnerTimes(started_at=row.started_at, ended_at=row.ended_at)


def _to_record(row: sa.Row[Any]) -> RunnerRecord:
    return RunnerRecord(**row._mapping)
