"""
Requests to the agents of runners.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager

import attrs

from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.http_upstreams import LONGEST_HEAD, BrokenUpstream, TooLarge, Upstream
from fal_server_agent.messages import TOKEN_HEADER

#: Seconds after which an agent that does not answer a ping is taken for dead.
_SILENCE = 5.0


@attrs.define(eq=False)
class AgentClient:
    """
    Sends requests to the agent of one runner.

    Attributes:
        url: Where the agent listens. None until it does.
    """

    _http: HttpClient
    _token: str = attrs.field(repr=False)
    url: str | None = attrs.field(default=None, init=False)
    _known: asyncio.Event = attrs.field(factory=asyncio.Event, init=False, repr=False)

    def listens_at(self, url: str) -> None:
        """
        Note where the agent listens.
        """
        self.url = url
        self._known.set()

    def close(self) -> None:
        """
        Let those go on who wait for an agent that has ended.
        """
        self._known.set()

    async def wait(self) -> bool:
        """
        Wait until the agent listens; return False if it ended before it did.
        """
        await self._known.wait()
        return self.url is not None

    def ask(
        self,
        path: str,
        body: bytes | AsyncIterable[bytes] | None = None,
        *,
        seconds: float | None = None,
    ) -> AbstractAsyncContextManager[Upstream]:
        """
        Send a request to the agent, as in :meth:`HttpClient.ask`.
        """
        headers = {TOKEN_HEADER: self._token}
        url = self.url or ""
        return self._http.ask("POST", url, path, headers=headers, body=body, seconds=seconds)

    async def ping(self) -> None:
        """
        Return once the agent has answered.

        Raises:
            UnreachedUpstream: It takes no connection.

            asyncio.TimeoutError: It does not answer in time.

            OSError: The connection broke.
        """
        async with self.ask("/ping", seconds=_SILENCE) as upstream:
            try:
                await upstream.read(LONGEST_HEAD)
            except TooLarge as error:
                raise BrokenUpstream(f"Its answer is no ping: {error}.") from error
