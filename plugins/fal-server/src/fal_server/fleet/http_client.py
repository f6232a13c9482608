"""
An HTTP/1.1 client for runners, with a pool of connections.

A gateway handles every request twice, so that its client costs as much as its server.
This one does only what a gateway needs: the client of aiohttp took a quarter of its time.
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
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable, Iterator, Mapping

import aiohttp

from fal_server.fleet.http_upstreams import (
    BrokenUpstream,
    RefusedUpstream,
    UnreachedUpstream,
    Upstream,
)
from fal_server.fleet.placing.ways import HttpOrigin, find_origin
from fal_server.listeners.http_connections import Unreadable
from fal_server.listeners.unix_sockets import open_unix, plain_socket

if sys.version_info >= (3, 11):
    from asyncio import timeout
else:
    from async_timeout import timeout

#: Seconds for opening a connection.
_LONGEST_CONNECT = 5.0

#: Seconds after which an idle connection is closed. Most servers close it after five, and
#: would lose a request that is on its way then.
_LONGEST_IDLE = 3.0

#: The largest message of a websocket, in bytes.
LARGEST_MESSAGE = 64 << 20

#: Methods of requests that may be repeated if there was no response.
_REPEATABLE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"})

#: Methods of requests that need no ``Content-Length`` if they have no body.
_BARE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE"})

_BLANK = re.compile(r"[\x00-\x20\x7f]")


class HttpClient:
    """
    Sends requests to runners, over connections that are kept alive.

    Arguments:
        tls: The context of encrypted connections. None for the authorities of this system.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self._tls = tls
        self._sessions: set[aiohttp.ClientSession] = set()
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
        informed: Callable[[int], None] = lambda _: None,
    ) -> AsyncIterator[Upstream]:
        """
        Send a request, and yield its response within the context.

        If a kept connection turns out to be closed, the request is sent again over a new
        one, unless its method is not idempotent.

        Arguments:
            url: Where the runner listens.

            path: The path with the query, encoded as it is sent.

            headers: The headers, without the length of the body. For a *body* that is a
                stream, ``Content-Length`` may be given; without it the body is sent in
                chunks.

            seconds: The time limit of the whole exchange. None for no limit.

            informed: Called with the status of each interim response.

        Raises:
            UnreachedUpstream: The runner accepted no connection, and nothing was sent.

            BrokenUpstream: There was no response, or an incomplete one.

            asyncio.TimeoutError: It took longer than *seconds*.

            Unreadable: The method, the path or a header would break the HTTP message.
        """
        origin = find_origin(url)
        message = _begin_message(method, origin, path, headers, body)
        async with timeout(seconds):
            upstream, may_repeat = await self._find(origin)
            may_repeat = may_repeat and method in _REPEATABLE
            upload: asyncio.Task[None] | None = None
            upstream.informed = informed
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
                    upstream.informed = informed
                    upstream.begin(message, is_bodiless=method == "HEAD")
                    await upstream.wait_for_head()
                yield upstream
            finally:
                try:
                    if upload is not None:
                        await _end_upload(upload, upstream)
                finally:
                    self._give_back(origin, upstream)

    @contextlib.asynccontextmanager
    async def connect(
        self, url: str, path: str, *, headers: Mapping[str, str], protocols: Iterable[str]
    ) -> AsyncIterator[aiohttp.ClientWebSocketResponse[bool]]:
        """
        Open a websocket, with messages of at most :data:`LARGEST_MESSAGE` bytes, for as long
        as the context lasts.

        Raises:
            aiohttp.ClientError: The runner does not accept it.
        """
        origin = find_origin(url)
        # Through a tunnel or not, others reach the same.
        base = f"http://{origin.name}" if origin.socket or origin.tunnel else url
        async with contextlib.AsyncExitStack() as stack:
            with _connector_of(origin) as connector:
                session = aiohttp.ClientSession(
                    connector=connector,
                    timeout=aiohttp.ClientTimeout(total=None, sock_connect=_LONGEST_CONNECT),
                    cookie_jar=aiohttp.DummyCookieJar(),
                )
                self._sessions.add(await stack.enter_async_context(session))
                stack.callback(self._sessions.discard, session)
                opened = await session.ws_connect(
                    base + path,
                    headers=headers,
                    protocols=protocols,
                    max_msg_size=LARGEST_MESSAGE,
                    ssl=self._tls or True,
                )
            yield opened

    async def aclose(self) -> None:
        """Close all connections, and open no others: no request is repeated."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for upstream in self._open:
            upstream.abort()
        for session in list(self._sessions):
            await session.close()

    async def _find(self, origin: HttpOrigin) -> tuple[Upstream, bool]:
        """Return a connection for a request, and whether it was used before."""
        kept = self._idle.get(origin)
        while kept:
            # The one that was used last: so that no more stay open than are needed.
            upstream = kept.pop()
            if upstream.is_usable and time.monotonic() - upstream.idle_since < _LONGEST_IDLE:
                return upstream, True
            upstream.abort()
        return await self._connect(origin), False

    async def _connect(self, origin: HttpOrigin) -> Upstream:
        if self._is_closed:
            raise BrokenUpstream("There are no more connections.")
        try:
            async with timeout(_LONGEST_CONNECT):
                drop = functools.partial(self._drop, origin)
                upstream = await _open(origin, drop, self._tls)
        except asyncio.TimeoutError as error:
            # Since Python 3.11 it is also an OSError.
            seconds = f"{_LONGEST_CONNECT:g} seconds"
            raise UnreachedUpstream(f"No connection was made within {seconds}.") from error
        except OSError as error:
            raise RefusedUpstream(f"No connection could be made: {error}.") from error
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
        Close idle connections. A server that handles one connection at a time accepts no
        other while one is open, and some servers never close one.
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


async def _open(
    origin: HttpOrigin, lost: Callable[[Upstream], None], tls: ssl.SSLContext | None
) -> Upstream:
    """
    Open a connection.

    Raises:
        OSError: It was not accepted.
    """
    loop = asyncio.get_running_loop()
    if origin.socket:
        connected = await open_unix(origin.socket)
        _, upstream = await loop.create_unix_connection(lambda: Upstream(lost), sock=connected)
        return upstream
    if (tunnel := origin.tunnel) is not None:
        transport, upstream = await loop.create_connection(
            lambda: Upstream(lost), tunnel.host, tunnel.port
        )
        transport.write(tunnel.greeting)
        return upstream
    context = tls or ssl.create_default_context() if origin.is_encrypted else None
    _, upstream = await loop.create_connection(
        lambda: Upstream(lost), origin.host, origin.port, ssl=context
    )
    return upstream


@contextlib.contextmanager
def _connector_of(origin: HttpOrigin) -> Iterator[aiohttp.BaseConnector]:
    """Return what opens the connection of a websocket while the context lasts."""
    if not origin.socket:
        yield aiohttp.TCPConnector(limit=0)
        return
    with contextlib.ExitStack() as stack:
        try:
            path = stack.enter_context(plain_socket(origin.socket))
        except OSError as error:
            raise aiohttp.ClientConnectionError(str(error)) from error
        yield aiohttp.UnixConnector(path, limit=0)


def _begin_message(
    method: str,
    origin: HttpOrigin,
    path: str,
    headers: Mapping[str, str],
    body: bytes | AsyncIterable[bytes] | None,
) -> tuple[bytes, ...]:
    """
    Return the head of a request, followed by its body if that is given as bytes.

    Raises:
        Unreadable: The method, the path or a header would break the HTTP message.
    """
    lines = [f"{method} {origin.path}{path} HTTP/1.1"]
    if "Host" not in headers:
        lines.append(f"Host: {origin.name}")
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
    # Bytes that are not UTF-8 are passed on unchanged.
    begun = head.encode("utf-8", "surrogateescape") + b"\r\n\r\n"
    # With an empty part at the end, the event loop of Python 3.12 writes for ever.
    return (begun, body) if body and isinstance(body, bytes) else (begun,)


async def _upload(upstream: Upstream, body: AsyncIterable[bytes], is_chunked: bool) -> None:
    try:
        async for part in body:
            if not part:
                # An empty chunk would end the body.
                continue
            await upstream.write(b"%x\r\n%b\r\n" % (len(part), part) if is_chunked else part)
        if is_chunked:
            await upstream.write(b"0\r\n\r\n")
    except Exception as error:
        upstream.abort(BrokenUpstream("The request could not be sent completely."))
        raise error


async def _end_upload(upload: asyncio.Task[None], upstream: Upstream) -> None:
    """Stop sending a body, as the response is complete or nobody waits for it."""
    if not upload.done():
        # After half a request, the next one would be read as the rest of its body.
        upstream.abort()
        upload.cancel()
    # A body has one reader at a time.
    await asyncio.gather(upload, return_exceptions=True)
