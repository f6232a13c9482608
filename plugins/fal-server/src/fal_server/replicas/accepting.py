"""
Accepting: the queue of a replica that does not decide. It stores requests, for the one that
does, and reads their status and their responses.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections.abc import Callable

import attrs
import sqlalchemy as sa

from fal_server.queue.incoming_requests import IncomingRequest
from fal_server.queue.queue_room import Slot
from fal_server.queue.receptions import Reception
from fal_server.queue.webhooks import Webhooks
from fal_server.state.databases import Database
from fal_server.state.tasks import uninterrupted
from fal_server.store.idempotency_keys import IdempotencyKey
from fal_server.store.kept_responses import KeptResponses
from fal_server.store.queued_requests import (
    UNFINISHED,
    QueuedRequest,
    QueuedRequests,
    requests,
)

#: Seconds between two looks at how much room there is; after one that took long they are more.
_LOOK, _SHARE = 1.0, 20

#: The most requests ahead of another that are counted.
_MOST_AHEAD = 1000


@attrs.define(eq=False)
class AcceptingQueue:
    """
    Accepts requests that another replica has answered.

    Attributes:
        announce: Called when one was accepted.
    """

    database: Database
    reception: Reception
    requests: QueuedRequests
    responses: KeptResponses
    webhooks: Webhooks
    announce: Callable[[], None]
    _arriving: set[Slot] = attrs.field(factory=set)
    _next_look: float = 0.0
    _looking: asyncio.Future[None] | None = None

    async def look(self) -> None:
        """Find out how much room there is, unless that was done a moment ago."""
        if time.monotonic() < self._next_look:
            return
        if self._looking is None or self._looking.done():
            self._looking = asyncio.ensure_future(self._count())
        if not self._next_look:
            await asyncio.shield(self._looking)

    async def close(self) -> None:
        """Stop looking."""
        if self._looking is not None:
            self._looking.cancel()
            await asyncio.gather(self._looking, return_exceptions=True)

    async def submit(
        self,
        request: QueuedRequest,
        incoming: IncomingRequest,
        key: IdempotencyKey | None = None,
    ) -> str:
        """
        Accept a request whose body has arrived, as :meth:`RequestQueue.submit` does.

        Raises:
            KeyReused: The key was sent with another request before.
        """
        incoming.submit()
        self._arriving.add(incoming.place)
        try:
            return await self._accept(request, incoming, key)
        finally:
            self._arriving.discard(incoming.place)

    @uninterrupted
    async def _accept(
        self, request: QueuedRequest, incoming: IncomingRequest, key: IdempotencyKey | None
    ) -> str:
        body = incoming.body.content
        try:
            accepted = await self.requests.add(request, key, body=body, arrives=True)
        except Exception:
            incoming.discard()
            raise
        if accepted == request.id:
            incoming.keep()
            self.announce()
        else:
            incoming.discard()
        return accepted

    async def position(self, request: QueuedRequest, *, is_new: bool = False) -> int:
        """
        Return how many requests to the same application are ahead of one that waits, as far
        as was counted.
        """
        name = request.owner_name, request.alias
        ahead = self.reception.room.count(name) - 1
        if is_new or ahead <= 0:
            return max(0, ahead)
        return min(ahead, await self.database.read(functools.partial(_count_ahead, request)))

    async def cancel(self, request: QueuedRequest) -> bool:
        """Leave the cancelling to the replica that decides, to which such requests are passed on."""
        raise RuntimeError("A replica that does not decide cancels nothing.")

    async def _count(self) -> None:
        began = time.monotonic()
        places = await self.database.read(_count_places)
        self.reception.room.recount(places, self._arriving)
        now = time.monotonic()
        self._next_look = now + max(_LOOK, _SHARE * (now - began))


def _count_places(connection: sa.Connection) -> list[tuple[Slot, int]]:
    """Return what the requests without a response take, and how many they are."""
    columns = (
        requests.c.owner_name,
        requests.c.alias,
        requests.c.sender,
        sa.case((requests.c.sender == "", requests.c.account_id), else_="").label("owner"),
    )
    size = requests.c.body_size + sa.func.length(requests.c.path + requests.c.headers)
    counted = (sa.func.count().label("number"), sa.func.sum(size).label("size"))
    chosen = sa.select(*columns, *counted).where(requests.c.state.in_(UNFINISHED))
    return [
        (Slot((row.owner_name, row.alias), (row.sender, row.owner), int(row.size)), row.number)
        for row in connection.execute(chosen.group_by(*columns))
    ]


def _count_ahead(request: QueuedRequest, connection: sa.Connection) -> int:
    """
    Return how many requests to the same application wait and come before *request*, of the
    nearest.
    """
    is_ahead = sa.tuple_(requests.c.priority, requests.c.number) < sa.tuple_(
        sa.literal(request.priority), sa.literal(request.number)
    )
    chosen = sa.select(requests.c.id).where(
        requests.c.state == "queued",
        requests.c.owner_name == request.owner_name,
        requests.c.alias == request.alias,
        is_ahead,
    )
    some = chosen.limit(_MOST_AHEAD).subquery()
    return connection.scalar(sa.select(sa.func.count()).select_from(some)) or 0
