"""Kept lines: which make room, and what is said of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import attrs
import pytest
import sqlalchemy as sa

from fal_server.limits import Limits
from fal_server.logs import kept_lines
from fal_server.logs.kept_lines import shares
from fal_server.logs.log_lines import LogFilter, LogLine, logs, size_of
from fal_server.logs.logs import Logs
from fal_server.state.databases import Database

#: What is kept of a runner, and of an account.
OF_RUNNER, OF_ACCOUNT = 100_000, 250_000

LIMITS = Limits(largest_runner_logs=OF_RUNNER, largest_logs=OF_ACCOUNT)

BASE = 1_700_000_000.0

Print = Callable[..., Awaitable[None]]


def run(database: Database, work: Callable[[Logs, Print], Awaitable[None]]) -> None:
    """Run *work* with the logs, and a function that prints numbered lines."""
    printed = 0

    async def main() -> None:
        kept = Logs(database, limits=LIMITS)

        async def write(runner: str, *numbers: int, account: str = "me") -> None:
            nonlocal printed
            for number in numbers:
                printed += 1
                line = LogLine(
                    message=f"{number:0300}",
                    account_id=account,
                    application="app",
                    runner_id=runner,
                    time=BASE + printed,
                )
                kept.add(line)
            await kept.flush()

        await work(kept, write)
        await kept.close()

    asyncio.run(main())


async def read(kept: Logs, runner: str, account: str = "me") -> list[Any]:
    """Return the numbers of the lines of a runner, after the line that says what is missing."""
    found = await kept.read(LogFilter(account_id=account, runner_id=runner), size=10_000)
    assert sorted(found, key=lambda line: line.time) == list(found)
    return [int(each.message) if each.message.isdigit() else each.message for each in found]


async def measure(database: Database) -> tuple[int, int]:
    """Return what the lines cost, as it is counted and as it is."""
    counted = sa.select(sa.func.sum(shares.c.size))

    def look(connection: sa.Connection) -> tuple[int, int]:
        lines = [
            LogLine(message=each, account_id="", application="", runner_id="")
            for each in connection.scalars(sa.select(logs.c.message))
        ]
        return connection.scalar(counted) or 0, sum(map(size_of, lines))

    return await database.read(look)


def test_old_lines_of_a_runner_make_room(database: Database):
    """
    The newest lines of a runner are kept, after one that says how many were dropped; other
    runners keep theirs.
    """

    async def work(kept: Logs, write: Print) -> None:
        await write("quiet", 1, 2, 3)
        for start in range(0, 1000, 50):
            await write("noisy", *range(start, start + 50))
            counted, measured = await measure(database)
            assert counted == measured <= OF_RUNNER + 3 * 500
        assert await read(kept, "quiet") == [1, 2, 3]
        note, *rest = await read(kept, "noisy")
        assert rest == list(range(1000 - len(rest), 1000))
        assert 150 < len(rest) <= 200
        assert note == (
            f"{1000 - len(rest)} lines were dropped from here: of a runner, the newest 100000 "
            "are kept."
        )

    run(database, work)


def test_old_lines_of_an_account_make_room(database: Database):
    """
    The newest lines of an account are kept, whichever runners printed them, and those of
    other accounts.
    """

    async def work(kept: Logs, write: Print) -> None:
        await write("theirs", 1, 2, account="other")
        for number in range(5):
            await write(f"r{number}", *range(150))
        counted, measured = await measure(database)
        assert counted == measured <= OF_ACCOUNT + 2 * 500
        assert await read(kept, "theirs", "other") == [1, 2]
        assert await read(kept, "r4") == list(range(150))
        assert len(await read(kept, "r0")) == 1
        note, *_ = await read(kept, "r0")
        assert note.startswith("150 lines were dropped from here: of the account")
        note, *rest = await read(kept, "r1")
        assert rest == list(range(150 - len(rest), 150))
        assert note.startswith(f"{150 - len(rest)} lines were dropped")

    run(database, work)


def test_lines_that_are_forgotten_make_room(database: Database):
    """Lines that were deleted for their age count no more, and neither does their runner."""

    async def work(kept: Logs, write: Print) -> None:
        await write("old", *range(500))
        await write("new", 1)
        assert await kept.delete(before=BASE + 501) > 100
        counted, measured = await measure(database)
        assert counted == measured == 500
        found = await database.read(
            lambda each: each.scalars(sa.select(shares.c.runner_id)).all()
        )
        assert found == ["new"]

    run(database, work)


def test_old_lines_are_deleted_a_few_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """
    Lines that are deleted for their age are deleted in many transactions, so that other
    writes take their turns, and not those among them that are newer.
    """
    monkeypatch.setattr(kept_lines, "_PAGE", 10)
    transactions = 0

    def count(*_: object) -> None:
        nonlocal transactions
        transactions += 1

    async def work(kept: Logs, write: Print) -> None:
        await write("r", *range(55))
        young = logs.update().where(logs.c.number == 33).values(time=(BASE + 1000) * 1_000_000)
        await database.write(lambda connection: connection.execute(young))
        database.observe = count
        assert await kept.delete(before=BASE + 100) == 54
        # Once this is written, those before it have been counted.
        await database.write(lambda connection: None)
        assert transactions >= 6
        assert await measure(database) == (500, 500)

    run(database, work)


@pytest.mark.parametrize("number", [0, 1])
def test_lines_of_an_earlier_version_are_counted(database: Database, number: int):
    """A server counts what one has kept that did not count."""

    async def first(kept: Logs, write: Print) -> None:
        await write("r", *range(10 * number))

    async def second(kept: Logs, write: Print) -> None:
        counted, measured = await measure(database)
        assert counted == measured == 5000 * number

    run(database, first)
    database.write_here(lambda connection: connection.execute(shares.delete()))
    run(database, second)


def test_few_lines_are_stored_without_a_look_at_all(database: Database):
    """How much is kept is not asked again until a runner has printed a part of what it may."""
    asked: list[str] = []

    def note(_: Any, __: Any, statement: str, *more: Any) -> None:
        if "sum(log_shares" in statement:
            asked.append(statement)

    async def work(kept: Logs, write: Print) -> None:
        await write("one", 1)
        sa.event.listen(sa.Engine, "before_cursor_execute", note)
        try:
            await write("one", 2)
            assert asked == []
            await write("one", *range(30))
            assert asked
        finally:
            sa.event.remove(sa.Engine, "before_cursor_execute", note)

    run(database, work)


def test_many_old_lines_make_room_a_few_at_a_time(
    database: Database, monkeypatch: pytest.MonkeyPatch
):
    """
    Where a limit was lowered, each write drops some of the lines that are too many, until the
    others have room.
    """
    monkeypatch.setattr(kept_lines, "_PAGE", 10)

    async def work(kept: Logs, write: Print) -> None:
        await write("noisy", *range(180))
        lowered = Logs(database, limits=attrs.evolve(LIMITS, largest_runner_logs=20_000))
        sizes = []
        for number in range(6):
            lowered.add(
                LogLine(
                    message=f"{180 + number:0300}",
                    account_id="me",
                    application="app",
                    runner_id="noisy",
                    time=BASE + 1000 + number,
                )
            )
            await lowered.flush()
            counted, measured = await measure(database)
            assert counted == measured
            sizes.append(measured)
        assert sizes[0] > sizes[1] > 20_000 >= max(sizes[2:])

    run(database, work)
