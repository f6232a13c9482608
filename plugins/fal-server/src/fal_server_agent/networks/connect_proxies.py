"""
Connect proxies: for programs of one machine, whose connections to some hosts lead to a server
of their own, and to all others as without the proxy.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import ipaddress
import logging
import socket
import urllib.request
from collections.abc import Callable, Collection, Mapping
from urllib.parse import unquote, urlsplit

from fal_server_agent.networks.sockets import part_of_files

logger = logging.getLogger(__name__)

#: The most connections at once, and the largest head of a request, in bytes.
_MOST, _LONGEST_HEAD = 1000, 1 << 14

#: How many clients may have connected and asked for nothing. Beyond it, the oldest is closed
#: if it has had so many seconds; beyond the second number, in any case.
_MOST_WAITING, _MOMENT, _MOST_AT_ONCE = 100, 1.0, 500

#: Seconds for the head of a request, and for a connection to be made.
_LONGEST_BEGINNING, _LONGEST_CONNECT = 20.0, 30.0

_PIECE = 1 << 16

#: Seconds that one direction of a connection goes on without a byte after the other has ended,
#: and that both do while neither has.
_LONGEST_END, _LONGEST_SILENCE = 60.0, 7200.0

#: The name that clients show with the token.
_USER = "fal"

_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NotConnected(Exception):
    """There is no connection. The arguments are the status of the response, and a sentence."""


class NextProxy:
    """
    Another proxy, through which connections are made.

    Attributes:
        credentials: What it is shown. Empty for nothing.
    """

    def __init__(self, host: str, port: int, credentials: str = "") -> None:
        self.host = host
        self.port = port
        self.credentials = credentials

    @classmethod
    def read(cls, url: str) -> NextProxy | None:
        """Read the URL of a proxy. None where it is not one of HTTP."""
        try:
            parts = urlsplit(url if "//" in url else f"http://{url}")
            port = parts.port or 80
        except ValueError:
            return None
        if parts.scheme != "http" or not parts.hostname:
            return None
        credentials = ""
        if parts.username is not None:
            credentials = _encode(unquote(parts.username), unquote(parts.password or ""))
        return cls(parts.hostname, port, credentials)


class ConnectProxy:
    """
    A proxy for encrypted connections, which it does not look into.

    Arguments:
        leads: The hosts whose connections lead to the server, and where each leads: the host
            and the port of a listener.

        beyond: The proxy for all other hosts. None where they are reached directly.

        bypasses: Tells of a host and its port whether it is reached directly nevertheless.

        token: What clients have to show. Empty where all that reach the port may use it.

        leads_home: Whether it connects to addresses of this machine's loopback too, which its
            clients reach without it.

        longest_end: Seconds that one direction goes on without a byte after the other has
            ended.
    """

    def __init__(
        self,
        leads: Mapping[str, tuple[str, int]],
        beyond: NextProxy | None = None,
        *,
        bypasses: Callable[[str], bool] = urllib.request.proxy_bypass,
        token: str = "",
        leads_home: bool = True,
        longest_end: float = _LONGEST_END,
        longest_silence: float = _LONGEST_SILENCE,
    ) -> None:
        self.leads = leads
        self.beyond = beyond
        self.bypasses = bypasses
        self._shown = _encode(_USER, token) if token else ""
        self._token = token
        self._leads_home = leads_home
        self._longest_end = longest_end
        self._longest_silence = longest_silence
        self._open: set[asyncio.Task[None]] = set()
        #: Those of clients that have not asked for anything yet, the oldest first, with the
        #: time since when.
        self._waiting: dict[asyncio.Task[None], float] = {}
        self._listening: asyncio.AbstractServer | None = None

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

    def url(self, port: int) -> str:
        """Return the URL of the proxy at *port*, with what clients have to show."""
        shown = f"{_USER}:{self._token}@" if self._token else ""
        return f"http://{shown}127.0.0.1:{port}"

    async def close(self) -> None:
        """Close all connections."""
        if self._listening is not None:
            self._listening.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._waiting[task] = asyncio.get_running_loop().time()
        self._make_room()
        try:
            await self._answer(reader, writer, task)
        except (
            OSError,
            asyncio.TimeoutError,
            asyncio.IncompleteReadError,
            asyncio.CancelledError,
        ):
            pass
        finally:
            self._waiting.pop(task, None)
            self._open.discard(task)
            writer.close()

    def _make_room(self) -> None:
        """
        Close the connection that has said nothing for longest, where there are many: others
        could keep out the clients that have the token, and use up the files of this process.
        """
        if len(self._waiting) <= _MOST_WAITING:
            return
        oldest, since = next(iter(self._waiting.items()))
        has_had_time = asyncio.get_running_loop().time() - since >= _MOMENT
        if has_had_time or len(self._waiting) > min(_MOST_AT_ONCE, part_of_files(16)):
            del self._waiting[oldest]
            oldest.cancel()

    async def _answer(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        task: asyncio.Task[None],
    ) -> None:
        try:
            host, port = await self._read(reader)
            self._waiting.pop(task, None)
            there, back = await self._connect(host, port)
        except NotConnected as error:
            status, sentence = error.args
            body = f"{sentence}\n".encode()
            head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
            if status.startswith("407"):
                head += 'Proxy-Authenticate: Basic realm="fal-core"\r\n'
            writer.write(f"{head}\r\n".encode() + body)
            await asyncio.wait_for(writer.drain(), _LONGEST_BEGINNING)
            return
        try:
            writer.write(b"HTTP/1.1 200 Connected\r\n\r\n")
            await self._pass_both((reader, back), (there, writer))
        finally:
            back.close()

    async def _pass_both(self, *ways: _Streams) -> None:
        """
        Pass on what comes in both directions, until both have ended, or one has for a while in
        which nothing came in the other, or nothing came in either for long.
        """
        moved = [asyncio.Event() for _ in ways]
        passing = [
            asyncio.ensure_future(_pass(*way, event))
            for way, event in zip(ways, moved, strict=True)
        ]
        try:
            while left := [each for each in passing if not each.done()]:
                for event in moved:
                    event.clear()
                is_whole = len(left) == len(passing)
                seconds = self._longest_silence if is_whole else self._longest_end
                done, _ = await asyncio.wait(
                    left, timeout=seconds, return_when=asyncio.FIRST_COMPLETED
                )
                if not done and not any(event.is_set() for event in moved):
                    for _, writer in ways:
                        writer.transport.abort()
                    break
        finally:
            for task in passing:
                task.cancel()
            await asyncio.gather(*passing, return_exceptions=True)

    async def _read(self, reader: asyncio.StreamReader) -> tuple[str, int]:
        """Read a request, and return the host and the port that it names."""
        try:
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _LONGEST_BEGINNING)
        except (asyncio.LimitOverrunError, asyncio.TimeoutError):
            raise NotConnected("400 Bad Request", "The request cannot be read.") from None
        line, *lines = head.decode("latin-1").split("\r\n")
        if self._shown and not _shows(lines, self._shown):
            raise NotConnected(
                "407 Proxy Authentication Required",
                "This proxy is for the programs of one runner, which have its token.",
            )
        # Each has a connection here and one beyond.
        most = min(_MOST, part_of_files(8))
        if len(self._open) - len(self._waiting) >= most:
            raise NotConnected("503 Too Many Connections", f"{most} connections are open.")
        method, _, rest = line.partition(" ")
        if method != "CONNECT":
            raise NotConnected(
                "405 Method Not Allowed",
                "This proxy is for encrypted connections: HTTPS_PROXY.",
            )
        host, _, port = rest.partition(" ")[0].rpartition(":")
        if not host or not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
            raise NotConnected("400 Bad Request", "The request names no host and port.")
        return host.strip("[]").lower().rstrip("."), int(port)

    async def _connect(self, host: str, port: int) -> _Streams:
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

    async def _reach(self, host: str, port: int) -> _Streams:
        server = self.leads.get(host)
        if server is not None and port == 443:
            logger.info("%s leads to %s:%d", host, *server)
            try:
                return await asyncio.open_connection(*server)
            except OSError as error:
                logger.warning(
                    "%s leads to %s:%d, which cannot be reached: %s", host, *server, error
                )
                raise
        beyond = self.beyond
        if beyond is None or self.bypasses(f"{host}:{port}"):
            return await self._reach_directly(host, port)
        self._check(host, [host])
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

    async def _reach_directly(self, host: str, port: int) -> _Streams:
        """Connect to the first of the addresses of a host that takes a connection."""
        kind = socket.SOCK_STREAM
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=kind)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        self._check(host, addresses)
        failed: OSError | None = None
        for address in addresses:
            try:
                there, back = await asyncio.open_connection(address, port)
            except OSError as error:
                failed = failed or error
                continue
            # The programs at both ends set options on their own sockets, not on this one.
            back.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            return there, back
        raise failed or OSError("it has no address")

    def _check(self, host: str, addresses: Collection[str]) -> None:
        """Check that a host, which has these addresses, is one that this proxy connects to."""
        if not self._leads_home and (
            host.rpartition(".")[2] == "localhost" or any(map(_is_home, addresses))
        ):
            raise NotConnected(
                "403 Forbidden",
                "It is on this machine, which is reached without this proxy: add its name to "
                "NO_PROXY.",
            )


async def _pass(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, moved: asyncio.Event
) -> None:
    """Pass on what comes, until it ends, and tell at each piece that it *moved*."""
    try:
        while content := await reader.read(_PIECE):
            moved.set()
            writer.write(content)
            await writer.drain()
        if writer.can_write_eof():
            writer.write_eof()
    except OSError:
        with contextlib.suppress(OSError):
            writer.close()


def _encode(user: str, word: str) -> str:
    return base64.b64encode(f"{user}:{word}".encode()).decode()


def _shows(lines: Collection[str], credentials: str) -> bool:
    """Tell whether the lines of a head show *credentials*."""
    for line in lines:
        name, _, value = line.partition(":")
        if name.strip().lower() == "proxy-authorization":
            scheme, _, shown = value.strip().partition(" ")
            is_right = hmac.compare_digest(shown.strip().encode(), credentials.encode())
            return scheme.lower() == "basic" and is_right
    return False


def _is_home(text: str) -> bool:
    """Tell whether *text* is an address that leads back to the machine that connects to it."""
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return False
    inner = getattr(address, "ipv4_mapped", None) or address
    return bool(inner.is_loopback or inner.is_unspecified)
