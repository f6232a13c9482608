"""
Fetching: files of URLs that others may have chosen.

A client must not use an application to read what only the application's network reaches:
each address is checked before it is connected to, that of each redirection too.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import ssl
import threading
import time
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from email.message import Message
from pathlib import Path
from typing import Any, Protocol

from fal_core_worker.serving.addresses import is_address, is_public, read_address
from fal_serve.media.errors import DownloadError

#: Hosts whose addresses are not looked at: names, or names with ports, with commas between.
HOSTS_VARIABLE = "FAL_SERVE_DOWNLOAD_HOSTS"

#: The proxy that an agent of fal-server connects with as this process would itself. It does
#: not look at addresses, so that nothing is downloaded through it.
DIRECT_VARIABLE = "FAL_CORE_DIRECT_PROXY"

_SECONDS = 30.0
_MOST_REDIRECTIONS = 5
_REDIRECTIONS = (301, 302, 303, 307, 308)

#: Headers that are for one host, and not for the one that it redirects to.
_SECRET = {"authorization", "cookie", "proxy-authorization", "x-fal-cdn-token"}

_AGENT = "Mozilla/5.0 (compatible; fal-serve)"


class Source(Protocol):
    """A file that is being fetched."""

    @property
    def headers(self) -> Message: ...

    def read(self, size: int, /) -> bytes: ...


class Deadline:
    """
    The end of the seconds that a whole download may take. When it comes, the connection ends,
    even while a thread waits for it.

    Arguments:
        seconds: None for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._until = None if seconds is None else time.monotonic() + seconds
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._timer: threading.Timer | None = None

    def __enter__(self) -> Deadline:
        if self._seconds is not None:
            self._timer = threading.Timer(self._seconds, self._end)
            self._timer.daemon = True
            self._timer.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def watch(self, connected: socket.socket | None) -> None:
        """End the connection of this socket when the time is over, and no other one."""
        with self._lock:
            self._socket = connected
        if self._is_over():
            self._end()

    def check(self, url: str) -> None:
        """
        Raise the error of a download that takes too long.

        Raises:
            DownloadError: The time is over.
        """
        if self._is_over():
            raise DownloadError(
                f"{show_url(url)} was not downloaded whole in {self._seconds:g} seconds."
            )

    def _is_over(self) -> bool:
        return self._until is not None and time.monotonic() >= self._until

    def _end(self) -> None:
        with self._lock, contextlib.suppress(OSError):
            if self._socket is not None:
                # Not that of a TLS socket, which would go on without TLS.
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)


@contextlib.contextmanager
def fetch(
    url: str, headers: Mapping[str, str] | None = None, *, deadline: Deadline
) -> Iterator[Source]:
    """
    Request *url*, following redirections, and yield its response.

    Raises:
        DownloadError: It is refused, or cannot be reached, or has another status than 2xx.
    """
    connection, response = _follow(url, dict(headers or {}), deadline)
    try:
        yield response
    finally:
        deadline.watch(None)
        response.close()
        connection.close()


def _follow(
    url: str, headers: dict[str, str], deadline: Deadline
) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
    shown = show_url(url)
    for _ in range(_MOST_REDIRECTIONS + 1):
        parts = _split(url)
        connection = _connect(parts, deadline)
        try:
            # The response may take the socket from the connection.
            connection.connect()
            deadline.watch(connection.sock)
            response = _ask(connection, parts, url, headers)
        except (OSError, ValueError, http.client.HTTPException) as error:
            deadline.watch(None)
            connection.close()
            deadline.check(url)
            raise DownloadError(f"{shown} cannot be downloaded: {describe(error)}.") from error
        if 200 <= response.status < 300:
            return connection, response
        deadline.watch(None)
        response.close()
        connection.close()
        deadline.check(url)
        if response.status not in _REDIRECTIONS:
            raise DownloadError(
                f"{shown} cannot be downloaded: its server answered with {response.status} "
                f"{response.reason}."
            )
        target = response.headers.get("Location")
        if not target:
            raise DownloadError(f"{shown} is redirected, and its server does not say where to.")
        url = urllib.parse.urljoin(url, target)
        if _origin(_split(url)) != _origin(parts):
            headers = {key: headers[key] for key in headers if key.lower() not in _SECRET}
    raise DownloadError(f"{shown} is redirected more than {_MOST_REDIRECTIONS} times.")


def show_url(url: str) -> str:
    """Return *url* for a message: without a query and credentials, which may be secret."""
    if url.startswith("data:"):
        return "The data URL"
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return f"The URL {url[:200]!r}"
    place = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, place, parts.path, "", ""))[:400]


def describe(error: BaseException) -> str:
    """Return what an error of the network says, as the end of a sentence."""
    if isinstance(error, TimeoutError):
        return f"nothing came for {_SECONDS:.0f} seconds"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection ended before its end"
    said = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return str(said).rstrip(".")


def _split(url: str) -> urllib.parse.SplitResult:
    shown = show_url(url)
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise DownloadError(f"{shown} is not a URL: {error}.") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise DownloadError(
            f"{shown} cannot be downloaded: a URL has to begin with https:// or http://, and "
            "the name of a host."
        )
    return parts


def _origin(parts: urllib.parse.SplitResult) -> tuple[str, str | None, int]:
    return parts.scheme, parts.hostname, _port(parts)


def _port(parts: urllib.parse.SplitResult) -> int:
    return parts.port or (443 if parts.scheme == "https" else 80)


def _connect(parts: urllib.parse.SplitResult, deadline: Deadline) -> http.client.HTTPConnection:
    """Return a connection to the host of *parts*, or to the proxy that leads there."""
    host, port = parts.hostname or "", _port(parts)
    secure = parts.scheme == "https"
    proxy = None
    if not urllib.request.proxy_bypass(host):
        proxy = urllib.request.getproxies().get(parts.scheme)
    if proxy == os.environ.get(DIRECT_VARIABLE):
        proxy = None
    if proxy is None:
        addresses = find_addresses(host, port)
        if secure:
            return _SecureConnection(host, port, addresses, deadline)
        return _Connection(host, port, addresses)
    if is_address(host) or host == "localhost" or host.endswith(".localhost"):
        # The proxy finds the addresses of other names, and has to refuse private ones.
        find_addresses(host, port)
    way = urllib.parse.urlsplit(proxy if "//" in proxy else f"//{proxy}")
    there = (way.hostname or "", way.port or 80)
    if not secure:
        return http.client.HTTPConnection(*there, timeout=_SECONDS)
    connection = http.client.HTTPSConnection(
        *there, timeout=_SECONDS, context=ssl.create_default_context()
    )
    connection.set_tunnel(host, port, headers=_proxy_headers(way))
    return connection


def _proxy_headers(way: urllib.parse.SplitResult) -> dict[str, str]:
    if not way.username:
        return {}
    import base64

    unquote = urllib.parse.unquote
    pair = f"{unquote(way.username)}:{unquote(way.password or '')}".encode()
    return {"Proxy-Authorization": f"Basic {base64.b64encode(pair).decode()}"}


def _ask(
    connection: http.client.HTTPConnection,
    parts: urllib.parse.SplitResult,
    url: str,
    headers: Mapping[str, str],
) -> http.client.HTTPResponse:
    path = urllib.parse.urlunsplit(("", "", parts.path or "/", parts.query, ""))
    is_proxied = type(connection) is http.client.HTTPConnection
    target = urllib.parse.urldefrag(url)[0] if is_proxied else path
    sent = {"User-Agent": _AGENT, "Accept": "*/*", "Accept-Encoding": "identity", **headers}
    sent["Host"] = parts.netloc.rpartition("@")[2]
    connection.request("GET", urllib.parse.quote(target, "/:?&=%+,;@!$'()*~[]#"), None, sent)
    return connection.getresponse()


def find_addresses(host: str, port: int) -> list[str]:
    """
    Return the addresses of *host*, if each may be connected to.

    Raises:
        DownloadError: The host is unknown, or one is of this machine or of a private network.
    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise DownloadError(f"The host {host!r} is not known: {describe(error)}.") from error
    addresses = [str(each[4][0]) for each in found]
    if not _is_allowed(host, port) and not all(is_public(read_address(a)) for a in addresses):
        raise DownloadError(
            f"The host {host!r} is of this machine or of a private network, and nothing is "
            f"downloaded from there for others. If it is meant, add it to {HOSTS_VARIABLE}."
        )
    return addresses


def _is_allowed(host: str, port: int) -> bool:
    """Tell whether *host* is the server that runs this, or was named by its operator."""
    named = os.environ.get(HOSTS_VARIABLE, "").split(",")
    own = os.environ.get("FAL_REST_HOST") if "IS_ISOLATE_AGENT" in os.environ else None
    names = {each.strip().lower() for each in (*named, own or "")} - {""}
    bare = f"[{host}]" if ":" in host else host
    return bool(names & {"*", host, bare, f"{bare}:{port}"})


class _Connection(http.client.HTTPConnection):
    """A connection to addresses that were looked at, and not to others of the same name."""

    def __init__(self, host: str, port: int, addresses: list[str]) -> None:
        super().__init__(host, port, timeout=_SECONDS)
        self._addresses = addresses

    def connect(self) -> None:
        self.sock = _open_socket(self._addresses, self.port)


class _SecureConnection(http.client.HTTPSConnection):
    """The same with TLS."""

    def __init__(self, host: str, port: int, addresses: list[str], deadline: Deadline) -> None:
        self._tls = ssl.create_default_context()
        super().__init__(host, port, timeout=_SECONDS, context=self._tls)
        self._addresses = addresses
        self._deadline = deadline

    def connect(self) -> None:
        plain = _open_socket(self._addresses, self.port)
        secure = self._tls.wrap_socket(
            plain, server_hostname=self.host, do_handshake_on_connect=False
        )
        self.sock = secure
        self._deadline.watch(secure)
        secure.do_handshake()


def _open_socket(addresses: list[str], port: int) -> socket.socket:
    for each in addresses[:-1]:
        with contextlib.suppress(OSError):
            return socket.create_connection((each, port), _SECONDS)
    return socket.create_connection((addresses[-1], port), _SECONDS)


class LocalSource:
    """A file that is here already, as a source."""

    def __init__(self, content: bytes | Path, content_type: str = "") -> None:
        self.headers: Message = Message()
        size = len(content) if isinstance(content, bytes) else content.stat().st_size
        self.headers["Content-Length"] = str(size)
        if content_type:
            self.headers["Content-Type"] = content_type
        if isinstance(content, bytes):
            import io

            self._file: Any = io.BytesIO(content)
        else:
            self._file = content.open("rb")

    def read(self, size: int, /) -> bytes:
        """Return the next bytes."""
        return bytes(self._file.read(size))

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def read_data_url(url: str) -> LocalSource:
    """
    Return the content of a data URL.

    Raises:
        DownloadError: It is none.
    """
    head, comma, body = url.partition(",")
    kind = head[len("data:") :]
    try:
        if not comma:
            raise ValueError("it has no comma")
        content = urllib.parse.unquote_to_bytes(body)
        if kind.endswith(";base64"):
            import base64

            kind = kind.removesuffix(";base64")
            content = base64.b64decode(content, validate=True)
    except ValueError as error:
        raise DownloadError(f"The data URL cannot be read: {error}.") from error
    return LocalSource(content, kind)
