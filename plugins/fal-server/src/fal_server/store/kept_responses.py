"""Kept responses: how much of them is stored for each account, and in which files."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import sqlalchemy as sa

from fal_server.state.bodies import SMALL, Body, BodyFiles
from fal_server.state.databases import Database
from fal_server.state.tasks import Tasks, insist, wait_for_event
from fal_server.store.idempotency_keys import delete_of
from fal_server.store.queued_requests import (
    UNFINISHED,
    QueuedRequest,
    QueuedRequests,
    name_answer,
    name_body,
    requests,
)

logger = logging.getLogger(__name__)

#: Whose requests: the account that has sent them, or none and the owner of the application.
Sender = tuple[str, str]

#: To what part of its limit an account is brought back, and how many responses are deleted
#: in one transaction for that.
_LEFT, _AT_ONCE = 0.9, 50

#: What a stored request takes besides the response and its own body, in bytes.
_ROW = 1 << 10

#: What a stored request takes.
_SIZE = requests.c.answer_size + _ROW + sa.func.coalesce(sa.func.length(requests.c.body), 0)

#: Seconds before there is another look for responses to delete, where those that are left await
#: their webhooks.
_AGAIN = 60.0
#: The part of the limit by which they may grow before that.
_PART = 64


class KeptResponses:
    """
    The responses that are stored. Where those to one account exceed *largest* bytes, its
    oldest ones are deleted.
    """

    def __init__(self, database: Database, files: BodyFiles, *, largest: int) -> None:
        self._database = database
        self._requests = QueuedRequests(database)
        self._files = files
        self._largest = largest
        self._sizes: Counter[Sender] = Counter()
        self._shrinking: set[Sender] = set()
        # Those that rest until there is more than so many bytes.
        self._resting: dict[Sender, tuple[int, asyncio.Event]] = {}
        self._tasks = Tasks()

    def start(self) -> None:
        """Count what an earlier server has stored, in the background."""
        self._tasks.spawn(self._count())

    async def close(self) -> None:
        """Stop deleting."""
        await self._tasks.close()

    def add(self, sender: str, owner: str, size: int) -> None:
        """
        Note a response of *size* bytes to an account, or to somebody without a key for an
        application of *owner*, with what is kept of the request.
        """
        whose = (sender, "" if sender else owner)
        self._sizes[whose] += size + _ROW
        self._check(whose)

    async def find(self, request_id: str) -> tuple[QueuedRequest | None, Body]:
        """
        Return a request and the body of the response to it, in one read. The request is None
        where there is none.
        """
        request, content = await self._requests.find_with_answer(request_id)
        if request is None:
            return None, Body()
        name = name_answer(request.id, request.attempts)
        return request, self._files.find(name, request.answer_size, content)

    async def remove_leftovers(self) -> None:
        """Remove the files that belong to no stored request."""
        await self._files.remove_leftovers(self._choose_leftovers)

    async def _count(self) -> None:
        for whose, size in await insist(self._measure):
            self._sizes[whose] += size
            self._check(whose)

    def _check(self, whose: Sender) -> None:
        if whose in self._resting:
            size, grown = self._resting[whose]
            if self._sizes[whose] > size:
                grown.set()
        if self._sizes[whose] > self._largest and whose not in self._shrinking:
            self._shrinking.add(whose)
            self._tasks.spawn(self._shrink(whose))

    async def _shrink(self, whose: Sender) -> None:
        """Delete the oldest responses to an account until there is room."""
        try:
            while True:
                # What has expired since is still counted.
                found = await insist(lambda: self._measure(whose))
                self._sizes[whose] = sum(size for _, size in found)
                if self._sizes[whose] <= self._largest:
                    break
                await self._delete(whose)
                if self._sizes[whose] <= self._largest:
                    break
                await self._rest(whose)
        finally:
            self._shrinking.discard(whose)

    async def _rest(self, whose: Sender) -> None:
        """Wait a while, or until an account has many more bytes."""
        grown = asyncio.Event()
        self._resting[whose] = self._sizes[whose] + self._largest // _PART, grown
        try:
            await wait_for_event(grown, _AGAIN)
        finally:
            del self._resting[whose]

    async def _delete(self, whose: Sender) -> None:
        """Delete the oldest responses to an account that do not await their webhooks."""
        count, left = 0, int(self._largest * _LEFT)
        while (excess := self._sizes[whose] - left) > 0:
            deleted = await insist(functools.partial(self._delete_oldest, whose, excess))
            if not deleted:
                break
            for name, size in deleted:
                self._files.remove(name)
                self._sizes[whose] -= size
                count += 1
        if count:
            logger.warning(
                "Deleted the %d oldest responses to %s, which exceeded --largest-responses.",
                count,
                whose[0] or f"senders without a key to applications of {whose[1]}",
            )

    async def _measure(self, whose: Sender | None = None) -> list[tuple[Sender, int]]:
        """Return the bytes of the stored responses, by whose they are."""
        owner = sa.case((requests.c.sender == "", requests.c.account_id), else_="")
        size = sa.func.sum(_SIZE)
        query = sa.select(requests.c.sender, owner, size).where(*_ended(whose))
        grouped = query.group_by(requests.c.sender, owner)
        return await self._database.read(
            lambda connection: [
                ((sender, owner), int(size))
                for sender, owner, size in connection.execute(grouped)
            ]
        )

    async def _delete_oldest(self, whose: Sender, excess: int) -> list[tuple[str, int]]:
        """
        Delete the oldest responses with *excess* bytes, or some of them. Return the names of
        the files that these may have, and how many bytes each took.
        """
        columns = (requests.c.id, requests.c.attempts, _SIZE.label("size"))
        old = sa.select(*columns).where(*_ended(whose), requests.c.webhook_due.is_(None))
        chosen = old.order_by(requests.c.ended_at).limit(_AT_ONCE)

        def work(connection: sa.Connection) -> list[tuple[str, int]]:
            ids, deleted, left = [], [], excess
            for row in connection.execute(chosen).all():
                if left <= 0:
                    break
                ids.append(row.id)
                deleted.append((name_answer(row.id, row.attempts), row.size))
                left -= row.size
            delete_of(connection, ids)
            connection.execute(requests.delete().where(requests.c.id.in_(ids)))
            return deleted

        return await self._database.write(work)

    def _choose_leftovers(self, names: Iterable[str]) -> Iterator[str]:
        """Yield those *names* of files that belong to no stored request, in any thread."""
        ids = {name: name.partition(".")[0] for name in names}
        query = sa.select(requests.c.id, requests.c.state).where(
            requests.c.id.in_({*ids.values()})
        )
        states: dict[str, Any] = self._database.read_here(
            lambda connection: {row.id: row.state for row in connection.execute(query)}
        )
        for name, id in ids.items():
            is_over = states.get(id) not in UNFINISHED
            if id not in states or (is_over and name == name_body(id)):
                yield name


def _ended(whose: Sender | None) -> Sequence[sa.ColumnElement[bool]]:
    """Return the conditions for requests that have ended."""
    conditions: list[sa.ColumnElement[bool]] = [requests.c.ended_at.is_not(None)]
    if whose is not None:
        sender, owner = whose
        conditions.append(requests.c.sender == sender)
        if not sender:
            conditions.append(requests.c.account_id == owner)
    return conditions


def keeps_body(request: QueuedRequest) -> bool:
    """
    Return whether the body of a request is kept when it is over, so that it can be sent again:
    a small one that is no stranger's.
    """
    return bool(request.sender) and request.body_size <= SMALL
