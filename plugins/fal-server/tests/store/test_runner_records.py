"""Records of runners: how a later server finds them, and when they ended."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from fal_server.errors import NotFound
from fal_server.state.databases import Database
from fal_server.store.runner_records import (
    RunnerRecord,
    RunnerRecords,
    RunnerTimes,
    read_references,
)


def record(id: str, **fields: Any) -> RunnerRecord:
    given = {
        "account_id": "user|1",
        "alias": "app",
        "revision": "r1",
        "token": "secret",
        "reference": f"runner-{id}",
        "machine_type": "XS",
        "started_at": 100.0,
        **fields,
    }
    return RunnerRecord(id=id, **given)


def test_runner_is_found_until_it_has_ended(database: Database):
    """
    Runners without an end are returned as they were recorded. The references of all are
    known, so that one that has ended by its record alone is found too.
    """

    async def main() -> None:
        records = RunnerRecords(database)
        lives, ends = record("a"), record("b")
        for each in (lives, ends):
            await records.add(each)
        assert await records.unfinished() == [lives, ends]
        await records.end("b", 200.0)
        assert await records.unfinished() == [lives]
        references = await database.read(read_references)
        assert references == {"runner-a", "runner-b"}

    asyncio.run(main())
    assert "secret" not in repr(record("a"))


def test_ended_runners_since_a_time(database: Database):
    """
    The runners of an account that have ended since a time are listed, the latest first, on
    request those of one alias.
    """

    async def main() -> None:
        records = RunnerRecords(database)
        for each, ended_at in (
            (record("early"), 10.0),
            (record("first"), 20.0),
            (record("last"), 40.0),
            (record("other", alias="other"), 30.0),
            (record("foreign", account_id="user|2"), 30.0),
            (record("lives"), None),
        ):
            await records.add(each)
            if ended_at is not None:
                await records.end(each.id, ended_at)
        found = [it.id for it in await records.ended("user|1", 20.0)]
        assert found == ["last", "other", "first"]
        found = [it.id for it in await records.ended("user|1", 20.0, "app")]
        assert found == ["last", "first"]
        assert await records.ended("user|1", 40.1) == []

    asyncio.run(main())


def test_times_of_a_runner(database: Database):
    """The account of a runner learns when it started and ended, by default now; no other does."""

    async def main() -> None:
        records = RunnerRecords(database)
        await records.add(record("a"))
        assert await records.times("user|1", "a") == RunnerTimes(
            started_at=100.0, ended_at=None
        )
        before = time.time()
        await records.end("a")
        times = await records.times("user|1", "a")
        assert times.ended_at is not None
        assert before <= times.ended_at <= time.time()
        for account, runner in (("user|2", "a"), ("user|1", "b")):
            with pytest.raises(NotFound, match="was not found"):
                await records.times(account, runner)

    asyncio.run(main())
