"""
Storage shares: how much each account has uploaded, of how much it may.

What an account has is counted on the disk and in the database when it may have too much;
otherwise an upper bound of it is known, so that an upload costs nothing more.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator

import attrs
import sqlalchemy as sa

from fal_server.errors import TooLarge, TooMany
from fal_server.limits import Limits, option_of, write_size
from fal_server.state.databases import Database
from fal_server.store.blobs import Blobs
from fal_server.store.uploads import app_files, stored_files

logger = logging.getLogger(__name__)

#: What a file takes at least, in bytes.
_LEAST = 4096

#: Seconds before what a full account has is counted again.
_AGAIN = 5.0


@attrs.define
class _Share:
    """
    What one account has at most.

    Attributes:
        size: In bytes: stored, sent in parts, and arriving.

        files: How many files and parts.

        arriving: How many of those files are neither stored nor parts yet.

        arrived: The bytes of these.

        is_counted: Whether it was ever counted.

        full_at: When it was last counted and found to be too much. None where it is not.

        counting: Held while it is counted.

        beginning: Held while an upload in parts is begun, as others would be counted too late.
    """

    size: int = 0
    files: int = 0
    arriving: int = 0
    arrived: int = 0
    is_counted: bool = False
    full_at: float | None = None
    counting: asyncio.Lock = attrs.field(factory=asyncio.Lock)
    beginning: asyncio.Lock = attrs.field(factory=asyncio.Lock)


@attrs.define(eq=False)
class StorageShares:
    """Keeps each account within its limits."""

    _database: Database
    _blobs: Blobs
    _limits: Limits
    _shares: dict[str, _Share] = attrs.field(factory=dict, init=False)

    async def begin(self, account_id: str) -> str:
        """
        Begin an upload in parts for an account, and return its id.

        Raises:
            TooMany: The account has begun too many.

            TooLarge: It has no room.
        """
        share = await self._share_of(account_id)
        async with share.beginning:
            begun = await asyncio.to_thread(self._blobs.count_begun, account_id)
            if begun < self._limits.most_uploads:
                return await self._blobs.begin(account_id)
        logger.warning(
            "Account %s has begun %d uploads: %s", account_id, begun, option_of("most_uploads")
        )
        raise TooMany(
            f"The account has begun {begun} uploads, and not finished them. Finish some, "
            "cancel them, or wait: they expire a day after they were last added to."
        )

    async def admit(
        self, account_id: str, chunks: AsyncIterator[bytes]
    ) -> AsyncIterator[bytes]:
        """
        Yield the *chunks* of a file or a part, as long as the account has room for them.

        Raises:
            TooLarge: It has no room.
        """
        share = await self._share_of(account_id)
        arrived = 0
        share.arriving += 1
        share.files += 1
        share.size += _LEAST
        try:
            await self._check(share, account_id)
            async for chunk in chunks:
                arrived += len(chunk)
                share.arrived += len(chunk)
                share.size += len(chunk)
                await self._check(share, account_id)
                yield chunk
        finally:
            share.arriving -= 1
            share.arrived -= arrived

    @contextlib.asynccontextmanager
    async def holding(self, account_id: str, *, files: int, size: int) -> AsyncIterator[None]:
        """
        Hold room for *files* that have *size* bytes together, while they are put in place.

        Raises:
            TooLarge: The account has no room.
        """
        share = await self._share_of(account_id)
        share.arriving += files
        share.arrived += size
        share.files += files
        share.size += size + _LEAST * files
        try:
            await self._check(share, account_id)
            yield
        finally:
            share.arriving -= files
            share.arrived -= size

    async def _share_of(self, account_id: str) -> _Share:
        """
        Return the share of an account.

        Raises:
            TooLarge: It has no room.
        """
        share = self._shares.setdefault(account_id, _Share())
        async with share.counting:
            if not share.is_counted:
                await self._count(share, account_id)
        await self._check(share, account_id)
        return share

    async def _check(self, share: _Share, account_id: str) -> None:
        limits = self._limits
        if self._has_room(share):
            return
        async with share.counting:
            is_old = share.full_at is None or time.monotonic() - share.full_at > _AGAIN
            if is_old and not self._has_room(share):
                await self._count(share, account_id)
                share.full_at = None if self._has_room(share) else time.monotonic()
        if share.size > limits.largest_storage:
            logger.warning("Account %s is full: %s", account_id, option_of("largest_storage"))
            raise TooLarge(
                f"The files of the account have {write_size(limits.largest_storage)} already, "
                "which is all that it may store. Remove files, or cancel uploads; the "
                "operator of the server can give it more."
            )
        if share.files > limits.most_files:
            logger.warning("Account %s is full: %s", account_id, option_of("most_files"))
            raise TooLarge(
                f"The account has {limits.most_files} files and parts of files, which is all "
                "that it may store. Remove files, or cancel uploads; the operator of the "
                "server can give it more."
            )

    def _has_room(self, share: _Share) -> bool:
        limits = self._limits
        return share.size <= limits.largest_storage and share.files <= limits.most_files

    async def _count(self, share: _Share, account_id: str) -> None:
        """Count what an account has. What arrives meanwhile is added to it."""
        files_then, size_then = share.files, share.size
        arriving, arrived = share.arriving, share.arrived
        files, size = await self.measure(account_id)
        share.is_counted = True
        share.files += files + arriving - files_then
        share.size += size + arrived + _LEAST * arriving - size_then

    async def measure(self, account_id: str) -> tuple[int, int]:
        """Return how many files an account has, and their bytes, without those that arrive."""
        stored = await self._database.read(lambda connection: _stored(connection, account_id))
        parts = await asyncio.to_thread(self._blobs.measure_parts, account_id)
        return stored[0] + len(parts), stored[1] + sum(max(size, _LEAST) for size in parts)


def _stored(connection: sa.Connection, account_id: str) -> tuple[int, int]:
    """Return how many files an account has, and the bytes of their contents, each once."""
    columns = (
        (stored_files.c.digest, stored_files.c.size, stored_files.c.account_id),
        (app_files.c.hash, app_files.c.size, app_files.c.account_id),
    )
    of_account = [
        sa.select(digest.label("digest"), size.label("size")).where(account == account_id)
        for digest, size, account in columns
    ]
    files = sa.union_all(*of_account).subquery()
    contents = sa.union(*of_account).subquery()
    least = sa.case((contents.c.size < _LEAST, _LEAST), else_=contents.c.size)
    number = connection.scalar(sa.select(sa.func.count()).select_from(files)) or 0
    return number, int(connection.scalar(sa.select(sa.func.sum(least))) or 0)
