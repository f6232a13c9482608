"""The state: durable, in one transaction for many, and patient."""

from __future__ import annotations

import asyncio
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from fal_server.errors import StorageFull, Unavailable
from fal_server.state.databases import Database
from fal_testing.harness.processes import wait_until

numbers = sa.Table(
    "test_numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True)
)


@pytest.fixture
def database(database: Database, database_url: str) -> Database:
    """A database with a table of numbers too."""
    database.write_here(numbers.create)
    return database


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "state.db"


@pytest.fixture
def in_file(file: Path) -> Iterator[Database]:
    database = Database(f"sqlite:///{file}")
    database.write_here(numbers.create)
    yield database
    database.close()


def add(number: int) -> Callable[[sa.Connection], int]:
    def work(connection: sa.Connection) -> int:
        connection.execute(numbers.insert().values(number=number))
        return number

    return work


def every(connection: sa.Connection) -> list[int]:
    return list(connection.scalars(sa.select(numbers.c.number).order_by(numbers.c.number)))


def run(work: Awaitable[Any]) -> Any:
    async def wait() -> Any:
        return await work

    return asyncio.run(wait())


def test_write_returns_what_the_work_returns_and_is_read(database: Database):
    """A write returns once others can read it."""

    async def main() -> None:
        assert await database.write(add(1)) == 1
        assert await database.read(every) == [1]

    asyncio.run(main())


def test_many_writes_share_transactions(database: Database):
    """Writes that wait together are written together."""
    groups: list[int] = []
    database.observe = lambda count, _: groups.append(count)

    async def main() -> None:
        await asyncio.gather(*(database.write(add(number)) for number in range(1000)))
        assert await database.read(every) == list(range(1000))

    asyncio.run(main())
    # Who has written is told before the one who observes is.
    assert wait_until(lambda: sum(groups) >= 1000, 60)
    assert sum(groups) == 1000
    assert len(groups) < 200


def test_failed_write_is_rolled_back_alone(database: Database):
    """A write that raises is undone, and those beside it are not."""

    def fail(connection: sa.Connection) -> None:
        add(100)(connection)
        raise LookupError("no")

    async def main() -> list[Any]:
        works = (add(1), fail, add(2), add(1), add(3))
        return await asyncio.gather(*map(database.write, works), return_exceptions=True)

    first, failed, second, twice, third = asyncio.run(main())
    assert (first, second, third) == (1, 2, 3)
    assert isinstance(failed, LookupError)
    assert isinstance(twice, sa.exc.IntegrityError)
    assert database.read_here(every) == [1, 2, 3]


class Fenced(Exception):
    """This process may not write any more."""


def refuse(connection: sa.Connection) -> None:
    assert connection.in_transaction()
    raise Fenced


def test_fence_refuses_a_group_of_writes(database: Database):
    """
    What the fence raises refuses all writes of a transaction but those that are made without
    it, and is not asked for these alone.
    """

    async def write(*numbers: int, fenced: bool) -> list[Any]:
        works = (database.write(add(number), fenced=fenced) for number in numbers)
        return await asyncio.gather(*works, return_exceptions=True)

    async def main() -> None:
        assert await write(1, 2, fenced=True) == [1, 2]
        database.fence = refuse
        refused, passed = await asyncio.gather(
            write(3, 4, fenced=True), write(5, 6, fenced=False)
        )
        assert [type(each) for each in refused] == [Fenced, Fenced]
        assert passed == [5, 6]

    asyncio.run(main())
    with pytest.raises(Fenced):
        database.write_here(add(7))
    assert database.write_here(add(8), fenced=False) == 8
    assert database.read_here(every) == [1, 2, 5, 6, 8]


def test_fence_is_asked_within_the_transaction(database: Database):
    """The fence sees what is written so far, and what it writes is committed with the writes."""
    database.fence = lambda connection: add(len(every(connection)) + 100)(connection) and None

    async def main() -> None:
        await database.write(add(1))
        await database.write(add(2))
        await database.write(add(3), fenced=False)

    asyncio.run(main())
    assert database.read_here(every) == [1, 2, 3, 100, 102]


def test_locked_database_is_waited_for(in_file: Database, file: Path):
    """While another process holds the database, a write waits, and then succeeds."""
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")

    async def main() -> int:
        writing = asyncio.ensure_future(in_file.write(add(1)))
        _, pending = await asyncio.wait([writing], timeout=1.5)
        assert pending
        other.execute("COMMIT")
        return await writing

    assert asyncio.run(main()) == 1
    other.close()


def test_patience_ends(file: Path):
    """A database that stays locked is an answer that the client may ask again."""
    database = Database(f"sqlite:///{file}", patience=0.1)
    database.write_here(numbers.create)
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(Unavailable):
        run(database.write(add(1)))
    other.execute("COMMIT")
    other.close()
    assert run(database.write(add(2))) == 2
    database.close()


def test_full_database_fails_at_once_and_recovers(in_file: Database):
    """A write to a full disk fails at once, and writes work again once there is room."""

    def limit(pages: int) -> Callable[[sa.Connection], None]:
        def work(connection: sa.Connection) -> None:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")

        return work

    def fill(connection: sa.Connection) -> None:
        connection.execute(numbers.insert(), [{"number": n} for n in range(100_000)])

    # The connection that writes is one; a pragma of it lasts.
    in_file.write_here(limit(1))
    in_file.patience = 0.5
    with pytest.raises(StorageFull):
        run(in_file.write(fill))
    in_file.write_here(limit(1_000_000))
    assert run(in_file.write(add(7))) == 7
    assert in_file.read_here(every) == [7]


def test_closed_database_refuses_writes(database_url: str):
    """Writes before the close are done, and those after it are refused."""
    database = Database(database_url)
    database.write_here(numbers.create)

    async def main() -> None:
        written = [asyncio.ensure_future(database.write(add(number))) for number in range(50)]
        # Let them hand over their writes.
        await asyncio.sleep(0)
        database.close()
        await asyncio.gather(*written)
        with pytest.raises(Unavailable):
            await database.write(add(99))
        with pytest.raises(Unavailable):
            await database.read(every)

    asyncio.run(main())
    again = Database(database_url)
    assert again.read_here(every) == list(range(50))
    again.close()


KILLED = """
import asyncio, sys
import sqlalchemy as sa
from fal_server.state.databases import Database

numbers = sa.Table(
    "test_numbers", sa.MetaData(), sa.Column("number", sa.Integer, primary_key=True)
)
database = Database(sys.argv[1])
database.write_here(numbers.create)

async def add(number):
    await database.write(lambda c: c.execute(numbers.insert().values(number=number)))
    print(number, flush=True)

async def main():
    await asyncio.gather(*(add(number) for number in range(100_000)))

asyncio.run(main())
"""


@pytest.mark.faults
@pytest.mark.parametrize("acknowledged", [1, 300, 700])
def test_sigkill_loses_nothing_that_was_acknowledged(database_url: str, acknowledged: int):
    """A write that has returned is there after SIGKILL."""
    seen: list[int] = []
    command = [sys.executable, "-c", KILLED, database_url]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        try:
            for line in writer.stdout:
                if not line.endswith(b"\n"):
                    break
                seen.append(int(line))
                if len(seen) == acknowledged:
                    writer.kill()
        finally:
            writer.kill()
    assert writer.returncode == -signal.SIGKILL
    database = Database(database_url)
    assert set(seen) <= set(database.read_here(every))
    database.close()
