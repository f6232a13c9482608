"""The client's end of websocket endpoints."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from fal_serve.exceptions import AppClientError

if TYPE_CHECKING:
    import websockets
    import websockets.sync.client
    from typing_extensions import Self


@contextlib.contextmanager
def connection_errors(url: str) -> Iterator[None]:
    """Raise AppClientError if no connection to *url* can be opened."""
    from websockets.exceptions import InvalidStatus, WebSocketException

    try:
        yield
    except InvalidStatus as error:
        response = error.response
        body = (response.body or b"").decode("utf-8", "replace")
        raise AppClientError(
            f"{url} refused the connection with status {response.status_code}: {body}",
            response.status_code,
            dict(response.headers.raw_items()),
        ) from error
    except (OSError, WebSocketException) as error:
        raise AppClientError(f"{url} cannot be reached: {error}", 500) from error


@contextlib.contextmanager
def closed_as_eof() -> Iterator[None]:
    """Raise EOFError if the connection is closed."""
    from websockets.exceptions import ConnectionClosed

    try:
        yield
    except ConnectionClosed as error:
        raise EOFError(f"The session has ended: {error}") from error


class WebsocketConnection:
    """A connection to a websocket endpoint, for text and bytes, as a context manager."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._socket: websockets.sync.client.ClientConnection | None = None

    def __enter__(self) -> Self:
        from websockets.sync.client import connect

        with connection_errors(self._url):
            self._opening = connect(self._url, additional_headers=self._headers, max_size=None)
            self._socket = self._opening.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opening.__exit__(*error)

    def send(self, message: str | bytes) -> None:
        """
        Send text or bytes.

        Raises:
            EOFError: The session has ended.
        """
        with closed_as_eof():
            self._open().send(message)

    def receive(self, timeout: float | None = None) -> str | bytes:
        """
        Wait for a message and return it, text or bytes.

        Raises:
            TimeoutError: None has come within *timeout* seconds.

            EOFError: The session has ended.
        """
        with closed_as_eof():
            return self._open().recv(timeout)

    def __iter__(self) -> Iterator[str | bytes]:
        with contextlib.suppress(EOFError):
            while True:
                yield self.receive()

    def _open(self) -> websockets.sync.client.ClientConnection:
        if self._socket is None:
            raise RuntimeError("The session is not open: use it as 'with client.name() as …'.")
        return self._socket


class AsyncWebsocketConnection:
    """A connection to a websocket endpoint, for text and bytes, as an async context manager."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url, self._headers = url, headers
        self._socket: websockets.ClientConnection | None = None

    async def __aenter__(self) -> Self:
        from websockets.asyncio.client import connect

        with connection_errors(self._url):
            self._socket = await connect(
                self._url, additional_headers=self._headers, max_size=None
            )
        return self

    async def __aexit__(self, *_: Any) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def send(self, message: str | bytes) -> None:
        """
        Send text or bytes.

        Raises:
            EOFError: The session has ended.
        """
        with closed_as_eof():
            await self._open().send(message)

    async def receive(self) -> str | bytes:
        """
        Wait for a message and return it, text or bytes.

        Raises:
            EOFError: The session has ended.
        """
        with closed_as_eof():
            return await self._open().recv()

    async def __aiter__(self) -> AsyncIterator[str | bytes]:
        with contextlib.suppress(EOFError):
            while True:
                yield await self.receive()

    def _open(self) -> websockets.ClientConnection:
        if self._socket is None:
            raise RuntimeError(
                "The session is not open: use it as 'async with client.name() as …'."
            )
        return self._socket
