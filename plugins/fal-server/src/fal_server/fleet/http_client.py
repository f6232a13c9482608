"""
HttpClient: requests that runners answer, over connections that are kept.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import ssl
import sys
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Mapping
from urllib.parse import urlsplit

import aiohttp
import attrs

from fal_server.fleet.http_upstreams import BrokenUpstream, UnreachedUpstream, Upstream
from fal_server.listeners.http_connections import Unreadable

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

#: Seconds that a connection may take to be made.
_LONGEST_CONNECT = 5.0

#: Seconds after which a connection that nobody uses is given up. Most servers close it
#: after five, and a request that is just on its way then is lost.
_LONGEST_IDLE = 3.0

#: The largest message of a websocket, in bytes.
LARGEST_MESSAGE = 64 << 20

#: What may be asked twice, where the first time nothing was answered.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

#: What is asked without a body as a rule, so that nothing has to tell that there is none.
_BARE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_BLANK = re.compile(r"[\x00-\x20\x7f]")


@attrs.frozen
class HttpOrigin:
    """
    Where a runner listens.

    Attributes:
        path: What each path begins with.
    """

    host: str
    port: int
    is_encrypted: bool
    path: str

    @property
    def name(self) -> str:
        """
        What the header ``Host`` says.
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@functools.lru_cache(1024)
def find_origin(url: str) -> HttpOrigin:
    """
    Return the origin of *url*.
    """
    parts = urlsplit(url)
    is_encrypted = parts.scheme == "https"
    port = parts.port or (443 if is_encrypted else 80)
    return HttpOrigin(parts.hostname or "", port, is_encrypted, parts.path.rstrip("/"))


class HttpClient:
    """
    The requests that runners are sent, and their connections.
    """

    def __init__(self) -> None:
        self._session: aiohttp.ClientSession | None = None
        self._open: set[Upstream] = set()
        self._idle: dict[HttpOrigin, deque[Upstream]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._is_closed = False

    @contextlib.asynccontextmanager
    async def ask(
        self,
        method: str,
        url: str,
        path: str,
        *,
        headers: Mapping[str, str],
        body: bytes | AsyncIterable[bytes] | None = None,
        seconds: float | None = None,
    ) -> AsyncIterator[Upstream]:
        """
        Send a request, and have its answer within the context.

        A connection that was kept, and turns out to be closed, is replaced where the request
        may be sent twice.

        Arguments:
            url: Where the runner listens.

            path: What it is asked for, with the query, as it goes over the wire.

            headers: What is sent, beside ``Host`` and what tells of the length of the body.
                ``Content-Length`` is given for a *body* that is a stream, unless that is
                sent in chunks.

            seconds: How long the whole of it may take. None for any time.

        Raises:
            UnreachedUpstream: It was not sent, as the runner has taken no connection.

            BrokenUpstream: It was not answered, or not to the end.

            asyncio.TimeoutError: It took longer.

            Unreadable: A header, or the path, would be read as something else.
        """
        origin = find_origin(url)
        message = _begin_message(method, origin, path, headers, body)
        async with timeout(seconds):
            upstream, may_repeat = await self._find(origin)
            may_repeat = may_repeat and method in _REPEATABLE
            upload: asyncio.Task[None] | None = None
            try:
                upstream.begin(message, is_bodiless=method == "HEAD")
                if not (body is None or isinstance(body, bytes)):
                    may_repeat, is_chunked = False, "Content-Length" not in headers
                    upload = asyncio.ensure_future(_upload(upstream, body, is_chunked))
                try:
                    await upstream.wait_for_head()
                except BrokenUpstream:
                    if not may_repeat or upstream.has_received:
                        raise
                    upstream = await self._connect(origin)
                    upstream.begin(message, is_bodiless=method == "HEAD")
                    await upstream.wait_for_head()
                yield upstream
            finally:
                try:
                    if upload is not None:
                        await _end_upload(upload, upstream)
                finally:
                    self._give_back(origin, upstream)

    async def connect(
        self, url: str, path: str, *, headers: Mapping[str, str], protocols: Iterable[str]
    ) -> aiohttp.ClientWebSocketResponse[bool]:
        """
        Return a websocket, whose messages have :data:`LARGEST_MESSAGE` bytes at most.

        Raises:
            aiohttp.ClientError: A runner takes none there.
        """
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_LONGEST_CONNECT),
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return await self._session.ws_connect(
            url + path, headers=headers, protocols=protocols, max_msg_size=LARGEST_MESSAGE
        )

    async def aclose(self) -> None:
        """
        End all connections, and make no others: what is broken off here is not asked again.
        """
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for upstream in self._open:
            upstream.abort()
        if self._session is not None:
            await self._session.close()

    async def _find(self, origin: HttpOrigin) -> tuple[Upstream, bool]:
        """
        Return a connection that takes a request, and whether it was kept.
        """
        kept = self._idle.get(origin)
        while kept:
            # The last one that was used: so there are no more than are needed.
            upstream = kept.pop()
            if upstream.is_usable and time.monotonic() - upstream.idle_since < _LONGEST_IDLE:
                return upstream, True
            upstream.abort()
        return await self._connect(origin), False

    async def _connect(self, origin: HttpOrigin) -> Upstream:
        if self._is_closed:
            raise BrokenUpstream("There are no more connections.")
        loop = asyncio.get_running_loop()
        context = ssl.create_default_context() if origin.is_encrypted else None
        try:
            async with timeout(_LONGEST_CONNECT):
                _, upstream = await loop.create_connection(
                    lambda: Upstream(functools.partial(self._drop, origin)),
                    origin.host,
                    origin.port,
                    ssl=context,
                )
        except asyncio.TimeoutError as error:
            # It is an OSError too, but for Python 3.10.
            seconds = f"{_LONGEST_CONNECT:g} seconds"
            raise UnreachedUpstream(f"There is no connection after {seconds}.") from error
        except OSError as error:
            raise BrokenUpstream(f"There is no connection: {error}.") from error
        self._open.add(upstream)
        if self._is_closed:
            upstream.abort()
        return upstream

    def _give_back(self, origin: HttpOrigin, upstream: Upstream) -> None:
        if not upstream.is_reusable:
            upstream.abort()
            return
        self._idle.setdefault(origin, deque()).append(upstream)
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LONGEST_IDLE, self._end_idle)

    def _end_idle(self) -> None:
        """
        End what nobody has used for long: a runner that serves one connection after another
        takes no other before, and some close none by themselves.
        """
        self._timer = None
        now = time.monotonic()
        kept = [upstream for each in self._idle.values() for upstream in each]
        for upstream in kept:
            if now - upstream.idle_since >= _LONGEST_IDLE:
                upstream.abort()
        if kept:
            loop = asyncio.get_running_loop()
            self._timer = loop.call_later(_LONGEST_IDLE, self._end_idle)

    def _drop(self, origin: HttpOrigin, upstream: Upstream) -> None:
        self._open.discard(upstream)
        kept = self._idle.get(origin)
        if kept is None:
            return
        with contextlib.suppress(ValueError):
            kept.remove(upstream)
        if not kept:
            del self._idle[origin]


def _begin_message(
    method: str,
    origin: HttpOrigin,
    path: str,
    headers: Mapping[str, str],
    body: bytes | AsyncIterable[bytes] | None,
) -> tuple[bytes, ...]:
    """
    Return a request up to its body, and that where it is there.

    Raises:
        Unreadable: It would be read as another.
    """
    lines = [f"{method} {origin.path}{path} HTTP/1.1", f"Host: {origin.name}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    if "Content-Length" not in headers:
        if body is None or isinstance(body, bytes):
            if body is not None or method not in _BARE:
                lines.append(f"Content-Length: {len(body or b'')}")
        else:
            lines.append("Transfer-Encoding: chunked")
    head = "\r\n".join(lines)
    ends = len(lines) - 1
    if head.count("\r") != ends or head.count("\n") != ends or "\0" in head:
        raise Unreadable
    if _BLANK.search(method) or _BLANK.search(path):
        raise Unreadable
    # What a sender has written in another encoding goes on as it was written.
    begun = head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    # An empty part at the end has the loop of Python 3.12 write it for ever.
    return (begun, body) if body and isinstance(body, bytes) else (begun,)


async def _upload(upstream: Upstream, body: AsyncIterable[bytes], is_chunked: bool) -> None:
    try:
        async for part in body:
            if not part:
                # As a chunk it would be the end, and what follows another request.
                continue
            await upstream.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
        if is_chunked:
            await upstream.write(b"0\r\n\r\n")
    except Exception as error:
        upstream.abort(BrokenUpstream("The request could not be sent to its end."))
        raise error


async def _end_upload(upload: asyncio.Task[None], upstream: Upstream) -> None:
    """
    Stop sending what an answer came before, or what nobody waits for any more.
    """
    if not upload.done():
        # Half a request was sent: what follows would be read as the rest of it.
        upstream.abort()
        upload.cancel()
    # Its body has one reader at a time.
    await asyncio.gather(upload, return_exceptions=True)
