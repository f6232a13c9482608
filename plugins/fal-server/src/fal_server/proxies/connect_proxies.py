"""
Connect proxies: for programs of one machine, whose connections to some hosts lead to a server
of their own, and to all others as without the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import urllib.request
from collections.abc import Collection
from urllib.parse import unquote, urlsplit

import attrs

logger = logging.getLogger(__name__)

#: The most connections at once, and the largest head of a request, in bytes.
_MOST, _LONGEST_HEAD = 1000, 1 << 14

#: Seconds for the head of a request, and for a connection to be made.
_LONGEST_BEGINNING, _LONGEST_CONNECT = 20.0, 30.0

_PIECE = 1 << 16

#: Seconds that one direction of a connection goes on without a byte after the other has ended.
_LONGEST_END = 60.0


class NotConnected(Exception):
    """
    There is no connection. The arguments are the status of the response, and a sentence.
    """


@attrs.frozen
class NextProxy:
    """
    Another proxy, through which connections are made.

    Attributes:
        credentials: What it is shown. Empty for nothing.
    """

    host: str
    port: int
    credentials: str = attrs.field(default="", repr=False)

    @classmethod
    def read(cls, url: str) -> NextProxy | None:
        """
        Read the URL of a proxy. None where it is not one of HTTP.
        """
        parts = urlsplit(url if "//" in url else f"http://{url}")
        if parts.scheme != "http" or not parts.hostname:
            return None
        credentials = ""
        if parts.username is not None:
            shown = f"{unquote(parts.username)}:{unquote(parts.password or '')}"
            credentials = base64.b64encode(shown.encode()).decode()
        return cls(parts.hostname, parts.port or 80, credentials)


@attrs.define(eq=False)
class ConnectProxy:
    """
    A proxy for encrypted connections, which it does not look into.

    Attributes:
        names: The hosts whose connections lead to the server.

        server: The host and the port of the API of the server.

        beyond: The proxy for all other hosts. None where they are reached directly.

        longest_end: Seconds that one direction goes on without a byte after the other has
            ended.
    """

    names: Collection[str]
    server: tuple[str, int]
    beyond: NextProxy | None = None
    longest_end: float = _LONGEST_END
    _open: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _listening: asyncio.AbstractServer | None = attrs.field(default=None, init=False)

    async def start(self, port: int) -> int:
        """
        Listen at a port of this machine alone, and return it.

        Raises:
            OSError: It is taken.
        """
        self._listening = await asyncio.start_server(
            self._take, "127.0.0.1", port, limit=_LONGEST_HEAD
        )
        taken: int = self._listening.sockets[0].getsockname()[1]
        return taken

    async def close(self) -> None:
        """
        Close all connections.
        """
        if self._listening is not None:
            self._listening.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            await self._answer(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            host, port = await self._read(reader)
            there, back = await self._connect(host, port)
        except NotConnected as error:
            status, sentence = error.args
            body = f"{sentence}\n".encode()
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n\r\n"
            writer.write(head.encode() + body)
            await writer.drain()
            return
        try:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await self._pass_both((reader, back), (there, writer))
        finally:
            back.close()

    async def _pass_both(
        self, *ways: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    ) -> None:
        """
        Pass on what comes in both directions, until both have ended, or one has for a while in
        which nothing came in the other.
        """
        moved = [asyncio.Event() for _ in ways]
        passing = [
            asyncio.ensure_future(_pass(*way, event))
            for way, event in zip(ways, moved, strict=True)
        ]
        try:
            await asyncio.wait(passing, return_when=asyncio.FIRST_COMPLETED)
            while left := [each for each in passing if not each.done()]:
                for event in moved:
                    event.clear()
                await asyncio.wait(left, timeout=self.longest_end)
                if not any(event.is_set() for event in moved):
                    break
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        """
        Read a request, and return the host and the port that it names.
        """
        if len(self._open) > _MOST:
            raise NotConnected("503 Too Many Connections", f"{_MOST} connections are open.")
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _LONGEST_BEGINNING)
        except (asyncio.LimitOverrunError, asyncio.TimeoutError):
            raise NotConnected("400 Bad Request", "The request cannot be read.") from None
        method, _, rest = head.decode("latin-1").partition(" ")
        if method != "CONNECT":
            raise NotConnected(
                "405 Method Not Allowed",
                "This proxy is for encrypted connections: HTTPS_PROXY.",
            )
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise NotConnected("400 Bad Request", "The request names no host and port.")
        return host.strip("[]").lower().rstrip("."), int(port)

    async def _connect(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        try:
            return await asyncio.wait_for(self._reach(host, port), _LONGEST_CONNECT)
        except asyncio.TimeoutError:
            raise NotConnected("504 Gateway Timeout", "It was not reached in time.") from None
        except UnicodeError:
            raise NotConnected("400 Bad Request", "The request names no host.") from None
        except asyncio.LimitOverrunError:
            raise NotConnected(
                "502 Bad Gateway", "The next proxy answers with headers that are too large."
            ) from None
        except (OSError, asyncio.IncompleteReadError) as error:
            raise NotConnected("502 Bad Gateway", f"It cannot be reached: {error}.") from error

    async def _reach(
        self, host: str, port: int
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if host in self.names and port == 443:
            logger.info("%s leads to %s:%d", host, *self.server)
            return await asyncio.open_connection(*self.server)
        beyond = self.beyond
        if beyond is None or urllib.request.proxy_bypass(f"{host}:{port}"):
            return await asyncio.open_connection(host, port)
        there, back = await asyncio.open_connection(beyond.host, beyond.port)
        named = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        lines = [f"CONNECT {named} HTTP/1.1", f"Host: {named}"]
        if beyond.credentials:
            lines.append(f"Proxy-Authorization: Basic {beyond.credentials}")
        back.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
        try:
            head = (await there.readuntil(b"\r\n\r\n")).decode("latin-1")
            status = head.partition("\r\n")[0].split(" ", 2)[1:2]
            if status != ["200"]:
                raise NotConnected("502 Bad Gateway", f"The next proxy refuses {host}.")
        except BaseException:
            back.close()
            raise
        return there, back


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: asyncio.Event
) -> None:
    """
    Pass on what comes, until it ends, and tell at each piece that it *moved*.
    """
    try:
        while content := await reader.read(_PIECE):
            moved.set()
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except ConnectionError:
        with contextlib.suppress(ConnectionError):
            writer.close()
