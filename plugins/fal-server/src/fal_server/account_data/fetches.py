"""
Fetches: files that the server gets from URLs, at the request of clients.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

import aiohttp
import attrs
from yarl import URL

from fal_server.errors import Invalid
from fal_server.queue.webhook_addresses import GuardedResolver, Network, check_url

#: The most redirects that are followed.
_MOST_REDIRECTS = 5

#: Seconds that a file may take, and that it may pause. Released clients wait ten minutes.
_LONGEST, _LONGEST_PAUSE = 600.0, 60.0

_CHUNK = 1 << 18

_REDIRECTS = frozenset({301, 302, 303, 307, 308})


@attrs.define(eq=False)
class Fetcher:
    """
    Gets files from public addresses, and from those of *allowed* networks.
    """

    allowed: Sequence[Network] = ()

    @contextlib.asynccontextmanager
    async def fetch(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """
        Yield the chunks of the file at *url*.

        Raises:
            Invalid: There is none, or the server may not get it.
        """
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(self.allowed))
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
