"""Incoming requests: those whose body arrives, and which are not accepted yet."""

from __future__ import annotations

import attrs

from fal_server.queue.queue_room import QueueRoom, Slot
from fal_server.state.bodies import Body, IncomingBody


@attrs.define(eq=False)
class IncomingRequest:
    """
    A request whose body arrives. It has a place in the queue, which it leaves at the end of
    its context, unless it was submitted.

    Attributes:
        body: Its body, once that has arrived.
    """

    place: Slot
    _room: QueueRoom
    _incoming: IncomingBody
    _announced: int
    body: Body = attrs.field(factory=Body)
    _is_submitted: bool = False

    def __enter__(self) -> IncomingRequest:
        return self

    def __exit__(self, *_: object) -> None:
        if not self._is_submitted:
            self.discard()

    async def write(self, piece: bytes) -> None:
        """
        Add bytes to its body.

        Raises:
            TooLarge: There are more than it may have.

            QueueFull: There is no room for more.

            StorageFull: The disk is full.
        """
        more = self._incoming.size + len(piece) - self._announced
        if more > 0:
            self._room.grow(self.place, more)
            self._announced += more
        await self._incoming.write(piece)

    async def finish(self) -> Body:
        """
        Return its body, which has arrived.

        Raises:
            StorageFull: The disk is full.
        """
        self.body = await self._incoming.finish()
        return self.body

    def submit(self) -> None:
        """Note that the queue that it is submitted to keeps or discards it."""
        self._is_submitted = True

    def keep(self) -> None:
        """Keep its body and its place: it was accepted."""
        self._incoming.keep()

    def discard(self) -> None:
        """Remove its body, and leave the queue."""
        self._incoming.discard()
        self._room.leave(self.place)
