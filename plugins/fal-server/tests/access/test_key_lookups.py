"""Lookups of keys: how many reads they take."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from fal_server.access.identities import KeyLookups
from fal_server.errors import StateUnavailable
from fal_server.store.accounts import make_account
from fal_server.store.keys import make_key, revoke_key


class Reads:
    """A database whose reads are counted, and can be held up."""

    def __init__(self, database: Any) -> None:
        self._database = database
        self.count = 0
        self.may_go = threading.Event()
        self.may_go.set()
        self.begun = asyncio.Event()
        self.error: Exception | None = None

    async def read(self, work: Any) -> Any:
        self.count += 1
        self.begun.set()
        await asyncio.to_thread(self.may_go.wait)
        if self.error is not None:
            raise self.error
        return await self._database.read(work)


def test_one_read_for_all_that_are_asked_for_at_once(database: Any):
    """A thousand wrong keys and a right one, asked for while another read runs, take one read."""

    async def main() -> None:
        account = await database.write(lambda it: make_account(it, "user", "ada"))
        new = await database.write(lambda it: make_key(it, account.id, frozenset()))
        reads = Reads(database)
        lookups = KeyLookups(reads)  # type: ignore[arg-type] # It is read from alone.
        reads.may_go.clear()
        first = asyncio.create_task(lookups.find("nobody"))
        await reads.begun.wait()
        wrong = [asyncio.create_task(lookups.find(f"nobody{n}")) for n in range(1000)]
        right = asyncio.create_task(lookups.find(new.id))
        gone = asyncio.create_task(lookups.find(new.id))
        await asyncio.sleep(0)
        gone.cancel()
        reads.may_go.set()
        assert await asyncio.gather(first, *wrong) == [(None, None)] * 1001
        key, owner = await right
        assert key is not None
        assert (key.id, owner) == (new.id, account)
        assert reads.count == 2

    asyncio.run(main())


def test_key_is_as_it_was_after_it_was_asked_for(database: Any):
    """Who asks after a key was revoked is not told what an earlier read has found."""

    async def main() -> None:
        account = await database.write(lambda it: make_account(it, "user", "ada"))
        new = await database.write(lambda it: make_key(it, account.id, frozenset()))
        lookups = KeyLookups(database)
        early = asyncio.create_task(lookups.find(new.id))
        await asyncio.sleep(0)
        await database.write(lambda it: revoke_key(it, account.id, new.id))
        key, _ = await lookups.find(new.id)
        assert key is not None
        assert key.revoked_at is not None
        await early

    asyncio.run(main())


def test_read_that_fails_fails_for_those_who_asked(database: Any):
    """The next ones have a read of their own."""

    async def main() -> None:
        reads = Reads(database)
        reads.error = StateUnavailable("The database is gone.")
        lookups = KeyLookups(reads)  # type: ignore[arg-type] # It is read from alone.
        with pytest.raises(StateUnavailable):
            await lookups.find("nobody")
        reads.error = None
        assert await lookups.find("nobody") == (None, None)

    asyncio.run(main())


def test_reads_that_are_left_end_with_the_server(database: Any):
    """A read whose request has gone, and one that waits behind it, are ended by ``close``."""

    async def main() -> None:
        reads = Reads(database)
        lookups = KeyLookups(reads)  # type: ignore[arg-type] # It is read from alone.
        reads.may_go.clear()
        first = asyncio.create_task(lookups.find("nobody"))
        await reads.begun.wait()
        second = asyncio.create_task(lookups.find("another"))
        await asyncio.sleep(0)
        first.cancel()
        second.cancel()
        await asyncio.wait([first, second])
        assert len(asyncio.all_tasks()) == 3
        await lookups.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}
        reads.may_go.set()

    asyncio.run(main())
