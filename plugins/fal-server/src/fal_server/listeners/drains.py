"""Drains: how long requests have to finish when a server ends."""

from __future__ import annotations

import asyncio
import time

import attrs
from aiohttp import web

#: Seconds that requests have where their server ends at once.
MOMENT = 0.5

#: The least seconds that a server is given: of none aiohttp makes any number.
_LEAST = 0.05


@attrs.define(eq=False)
class Drain:
    """
    The time that requests have to finish. All ports share it: requests at one of them go on
    while those at another are waited for.

    Attributes:
        seconds: How long it is, from the end of the first port on.
    """

    seconds: float
    _until: float | None = attrs.field(default=None, init=False)

    def left(self) -> float:
        """Return the seconds that are left of it."""
        now = time.monotonic()
        if self._until is None:
            self._until = now + self.seconds
        return max(_LEAST, self._until - now)

    async def end(self, server: web.Server) -> None:
        """
        Let the requests of *server* finish, and break off those that have not in time.

        Connections that have none are closed at once: clients and replicas keep them open for
        the next request, and it would be waited for that as well.
        """
        server.pre_shutdown()
        seconds = self.left()
        try:
            await asyncio.wait_for(server.shutdown(seconds), seconds)
        except asyncio.TimeoutError:
            # It would wait as long again before it cancels what handles them.
            await server.shutdown(_LEAST)
