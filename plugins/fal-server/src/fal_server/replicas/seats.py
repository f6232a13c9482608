"""Seats: the replica that decides, as the others reach it, and how its end is waited for."""

from __future__ import annotations

import asyncio

import attrs

from fal_server.claims.replicas import Replica
from fal_server.errors import Unavailable

#: Seconds for which a request waits until a replica decides.
PATIENCE = 30.0


class NobodyDecides(Unavailable):
    """No replica has decided for a while."""


@attrs.frozen(eq=False)
class Seat:
    """
    A replica that decides, until another one does.

    Attributes:
        gone: Set once it decides no longer.
    """

    replica: Replica
    token: int
    gone: asyncio.Event = attrs.field(factory=asyncio.Event)


@attrs.define(eq=False)
class Seats:
    """Who decides now."""

    now: Seat | None = None
    _taken: asyncio.Event = attrs.field(factory=asyncio.Event)

    def change(self, decider: Replica | None, token: int) -> None:
        """Note who decides. None where nobody does."""
        seat = self.now
        if seat is not None:
            if decider is not None and (seat.replica.id, seat.token) == (decider.id, token):
                return
            seat.gone.set()
        self.now = None if decider is None else Seat(decider, token)
        if self.now is None:
            self._taken.clear()
        else:
            self._taken.set()

    async def wait(self, until: float) -> Seat:
        """
        Return who decides.

        Arguments:
            until: The time of the event loop until which it is waited for.

        Raises:
            NobodyDecides: Nobody has until then.
        """
        while self.now is None:
            left = until - asyncio.get_running_loop().time()
            try:
                await asyncio.wait_for(self._taken.wait(), left)
            except asyncio.TimeoutError:
                raise NobodyDecides(
                    "No replica of the server decides at present, so that the request was not "
                    "begun. Send it again in a while."
                ) from None
        return self.now
