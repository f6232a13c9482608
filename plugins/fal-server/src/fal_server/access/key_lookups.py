"""
Lookups of keys: one read of the state for all that are asked for at once.

A stranger who sends many wrong keys costs a read for all of them, and a right key that comes
after them waits for one.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Mapping
from typing import TypeAlias

import attrs

from fal_server.state.databases import Database
from fal_server.store.accounts import Account
from fal_server.store.keys import Key, find_with_accounts

#: Keys with their accounts, by their ids.
Found: TypeAlias = Mapping[str, tuple[Key, Account]]


@attrs.define(eq=False)
class KeyLookups:
    """
    Finds keys and their accounts.
    """

    _database: Database
    #: The keys that the next read looks for, and that read, once there is one to come.
    _ids: set[str] = attrs.field(factory=set)
    _next: asyncio.Task[Found] | None = None
    _turn: asyncio.Lock = attrs.field(factory=asyncio.Lock)

    async def find(self, id: str) -> tuple[Key | None, Account | None]:
        """
        Return the key with this *id*, even if it was revoked, and its account, as they are
        after this was called. None and None where there is no such key.

        Raises:
            StateUnavailable: The state cannot be read.
        """
        self._ids.add(id)
        if self._next is None:
            self._next = asyncio.create_task(self._read())
        # Who asks may be gone before the others have their answer.
        found = await asyncio.shield(self._next)
        return found.get(id, (None, None))

    async def _read(self) -> Found:
        async with self._turn:
            ids, self._ids, self._next = self._ids, set(), None
            return await self._database.read(functools.partial(find_with_accounts, ids=ids))
