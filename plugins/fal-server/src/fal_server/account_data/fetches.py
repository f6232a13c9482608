"""Fetches: files that the server gets from URLs, at the request of clients."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator, Sequence

import aiohttp
import attrs
from yarl import URL

from fal_server.errors import Invalid, TooMany
from fal_server.queue.webhook_addresses import GuardedResolver, Network, check_url

#: The most redirects that are followed.
_MOST_REDIRECTS = 5

#: Seconds that a file may take, and that it may pause. Released clients wait ten minutes.
_LONGEST, _LONGEST_PAUSE = 600.0, 60.0

#: How many files are fetched for an account at once.
_MOST = 8

_CHUNK = 1 << 18

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@attrs.define(eq=False)
class Fetcher:
    """Gets files from public addresses, and from those of *allowed* networks."""

    allowed: Sequence[Network] = ()
    _fetching: Counter[str] = attrs.field(factory=Counter, init=False)
    # For all fetches, as each has threads of its own.
    _resolver: GuardedResolver = attrs.field(init=False)

    @_resolver.default
    def _make_resolver(self) -> GuardedResolver:
        return GuardedResolver(self.allowed)

    @contextlib.asynccontextmanager
    async def fetch(self, account_id: str, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        Yield the chunks of the file at *url*, for an account.

        Raises:
            Invalid: There is none, or the server may not get it.

            TooMany: Too many files are fetched for the account already.
        """
        if self._fetching[account_id] >= _MOST:
            raise TooMany(
                f"{_MOST} files are fetched from URLs for the account already. Wait until one "
                "of them is there."
            )
        self._fetching[account_id] += 1
        try:
            async with self._open(url) as chunks:
                yield chunks
        finally:
            self._fetching[account_id] -= 1
            # Those without any are not kept.
            self._fetching += Counter()

    @contextlib.asynccontextmanager
    async def _open(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        connector = aiohttp.TCPConnector(resolver=self._resolver)
        timeout = aiohttp.ClientTimeout(total=_LONGEST, sock_read=_LONGEST_PAUSE)
        session = aiohttp.ClientSession(
            connector=connector, timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()
        )
        async with session:
            try:
                response = await self._get(session, check_url(url, self.allowed, "file"))
                async with response:
                    yield response.content.iter_chunked(_CHUNK)
            except asyncio.TimeoutError:
                raise Invalid("The file did not come in time.") from None
            except (OSError, ValueError, aiohttp.ClientError) as error:
                # Others quote the URL, which may contain a secret.
                raise Invalid(
                    f"The file could not be fetched: {type(error).__name__}."
                ) from error

    async def _get(self, session: aiohttp.ClientSession, url: URL) -> aiohttp.ClientResponse:
        for _ in range(_MOST_REDIRECTS + 1):
            response = await session.get(url, allow_redirects=False)
            if response.status not in _REDIRECTS:
                if response.status == 200:
                    return response
                response.release()
                raise Invalid(f"The file could not be fetched: status {response.status}.")
            target = response.headers.get("Location", "")
            response.release()
            url = check_url(str(url.join(URL(target))), self.allowed, "file")
        raise Invalid(f"There are more than {_MOST_REDIRECTS} redirects.")
