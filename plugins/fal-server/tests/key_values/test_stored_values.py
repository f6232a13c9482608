"""Values that are kept for a while."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from fal_server.errors import Invalid, NotFound, TooLarge
from fal_server.key_values.stored_values import LARGEST_VALUE, LONGEST, StoredValues
from fal_server.limits import Limits
from fal_server.store.accounts import make_account


@pytest.fixture
def accounts(database: Any) -> list[str]:
    """Two accounts."""

    def make(connection: Any) -> list[str]:
        return [make_account(connection, "user", name).id for name in ("ann", "bob")]

    return database.write_here(make)  # type: ignore[no-any-return]  # of any type


class Clock:
    """A clock that a test sets."""

    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


def test_values_are_kept_for_their_time(database: Any, accounts: list[str]):
    """
    A value is found until its time is over, in the store of its name and account alone; it is
    replaced with its time, and deleted.
    """
    clock, (ann, bob) = Clock(), accounts
    values = StoredValues(database, Limits(), clock)

    async def use() -> None:
        await values.set(ann, "db", "a/b ü", "first", 60)
        await values.set(ann, "other", "a/b ü", "other")
        assert await values.get(ann, "db", "a/b ü") == "first"
        for account, name in ((bob, "db"), (ann, "none")):
            with pytest.raises(NotFound):
                await values.get(account, name, "a/b ü")
        clock.now += 59
        await values.set(ann, "db", "a/b ü", "second", 120)
        clock.now += 119
        assert await values.get(ann, "db", "a/b ü") == "second"
        clock.now += 1
        with pytest.raises(NotFound):
            await values.get(ann, "db", "a/b ü")
        await values.drop_expired()
        assert await values.get(ann, "other", "a/b ü") == "other"
        for _ in range(2):
            await values.delete(ann, "other", "a/b ü")
        with pytest.raises(NotFound):
            await values.get(ann, "other", "a/b ü")

    asyncio.run(use())


def test_values_that_are_refused(database: Any, accounts: list[str]):
    """
    Values that are too large, times that are too short or long, and names that are none are
    refused.
    """
    values, ann = StoredValues(database, Limits()), accounts[0]

    async def use() -> None:
        for arguments in (
            ("db", "key", "x", 59),
            ("db", "key", "x", LONGEST + 1),
            ("", "key", "x"),
            ("db", "", "x"),
            ("db", "k" * 1025, "x"),
            ("db", "\0", "x"),
        ):
            with pytest.raises(Invalid):
                await values.set(ann, *arguments)
        with pytest.raises(TooLarge):
            await values.set(ann, "db", "key", "x" * (LARGEST_VALUE + 1))

    asyncio.run(use())


def test_values_of_an_account_are_limited(database: Any, accounts: list[str]):
    """
    An account has so many values, and so many bytes of them; what it deletes, replaces or
    lets expire makes room, and others are not held up.
    """
    clock, (ann, bob) = Clock(), accounts
    values = StoredValues(database, Limits(most_values=3, largest_values=1000), clock)

    async def use() -> None:
        for _ in range(10):
            await values.set(ann, "db", "same", "x")
        for number in range(2):
            await values.set(ann, "db", str(number), "x", 60)
        with pytest.raises(TooLarge, match="--most-values"):
            await values.set(ann, "db", "more", "x")
        # What is there is replaced, also where all of them are.
        await values.set(ann, "db", "same", "y" * 900)
        with pytest.raises(TooLarge, match="--largest-values"):
            await values.set(ann, "db", "0", "x" * 100, 60)
        await values.set(ann, "db", "same", "x")
        await values.set(bob, "db", "more", "x")
        await values.delete(ann, "db", "same")
        await values.set(ann, "db", "more", "x")
        clock.now += 60
        with pytest.raises(TooLarge, match="--largest-values"):
            await values.set(ann, "db", "large", "x" * 1000)
        await values.set(ann, "db", "large", "x" * 900)

    asyncio.run(use())
