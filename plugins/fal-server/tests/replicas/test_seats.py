"""Seats: who decides, and how long that is waited for."""

from __future__ import annotations

import asyncio

import attrs
import pytest

from fal_server.claims.replicas import Replica
from fal_server.replicas.seats import NobodyDecides, Seats

ONE = Replica(id="one", address="", ports={}, authority="", machine="", files="", version="")


def test_seat_is_waited_for_and_ends():
    """
    Whoever waits is told who decides, and when that one does no longer, also if the same
    replica decides again.
    """

    async def main() -> None:
        seats = Seats()
        now = asyncio.get_running_loop().time()
        waiting = asyncio.ensure_future(seats.wait(now + 60))
        await asyncio.sleep(0)
        seats.change(ONE, 1)
        first = await waiting
        # What is told of it may change meanwhile.
        seats.change(attrs.evolve(ONE, clock=1.0), 1)
        assert (await seats.wait(now), first.gone.is_set()) == (first, False)
        seats.change(ONE, 2)
        assert first.gone.is_set()
        second = await seats.wait(now)
        seats.change(None, 3)
        assert (second.token, second.gone.is_set()) == (2, True)
        with pytest.raises(NobodyDecides, match="was not begun"):
            await seats.wait(now)

    asyncio.run(main())
