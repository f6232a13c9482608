"""
Connections: the client's end of a realtime endpoint.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from pydantic import TypeAdapter

from fal_core_worker.routes import RouteSignature
from fal_serve import codecs
from fal_serve.exceptions import AppClientError

if TYPE_CHECKING:
    import websockets
    import websockets.sync.client


@contextlib.contextmanager
def opening(url: str) -> Iterator[None]:
    """
    Raise AppClientError where no session can be opened at *url*.
    """
    from websockets.exceptions import InvalidStatus, WebSocketException

    try:
        yield
    except InvalidStatus as error:
        answer = error.response
        said = (answer.body or b"").decode("utf-8", "replace")
        raise AppClientError(
            f"{url} opens no session, and answered {answer.status_code}: {said}",
            answer.status_code,
            dict(answer.headers.raw_items()),
        ) from error
    except (OSError, WebSocketException) as error:
        raise AppClientError(f"{url} cannot be reached: {error}", 500) from error


class Messages:
    """
    What both kinds of connection have in common: how messages are bytes.

    Attributes:
        timings: The seconds that the handler took for each answer, where it tells.
    """

    def __init__(self, signature: RouteSignature) -> None:
        self._encode = signature.encode_message or codecs.encode
        self._decode = signature.decode_message or codecs.decode
        output = signature.output_modal
        self._output: TypeAdapter[Any] | None = None if output is None else TypeAdapter(output)
        self.timings: list[float] = []

    def write(self, message: Any) -> bytes:
        """
        Return *message* as bytes.
        """
        return self._encode(codecs.dump(message))

    def read(self, frame: bytes | str) -> tuple[bool, Any]:
        """
        Return whether *frame* is an answer, and the answer.

        Raises:
            AppClientError: It tells of a failure.
        """
        if isinstance(frame, bytes):
            answer = self._decode(frame)
            if self._output is not None:
                answer = self._output.validate_python(answer)
            return True, answer
        told = json.loads(frame)
        if told.get("type") == "x-fal-error":
            raise AppClientError(f"{told.get('error')}: {told.get('reason')}", 500)
        if told.get("action") == "timings":
            self.timings.append(told["timing"])
        return False, None


class RealtimeConnection(Messages):
    """
    A session of a realtime endpoint, as a context manager.
    """

    def __init__(self, url: str, signature: RouteSignature, headers: dict[str, str]) -> None:
        super().__init__(signature)
        self._url, self._headers = url, headers
        self._socket: websockets.sync.client.ClientConnection | None = None

    def __enter__(self) -> RealtimeConnection:
        from websockets.sync.client import connect

        with opening(self._url):
            self._opening = connect(self._url, additional_headers=self._headers, max_size=None)
            self._socket = self._opening.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._opening.__exit__(*error)

    def send(self, message: Any) -> None:
        """
        Send an input.

        Raises:
            EOFError: The session has ended; ``receive`` tells why.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            self._open().send(self.write(message))
        except ConnectionClosed as error:
            raise EOFError(f"The session has ended: {error}") from error

    def receive(self, timeout: float | None = None) -> Any:
        """
        Wait for an answer and return it.

        Raises:
            AppClientError: The endpoint tells that it has failed.

            TimeoutError: None has come within *timeout* seconds.

            EOFError: The session has ended.
        """
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                frame = self._open().recv(timeout)
            except ConnectionClosed as error:
                raise EOFError(f"The session has ended: {error}") from error
            is_answer, answer = self.read(frame)
            if is_answer:
                return answer

    def __call__(self, message: Any, timeout: float | None = None) -> Any:
        """
        Send an input and return the next answer.

        Raises:
            As ``receive`` does.
        """
        with contextlib.suppress(EOFError):
            self.send(message)
        return self.receive(timeout)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.receive()
            except EOFError:
                return

    def _open(self) -> websockets.sync.client.ClientConnection:
        if self._socket is None:
            raise RuntimeError("The session is not open: use it as 'with client.name() as …'.")
        return self._socket


class AsyncRealtimeConnection(Messages):
    """
    A session of a realtime endpoint, as an async context manager.
    """

    def __init__(self, url: str, signature: RouteSignature, headers: dict[str, str]) -> None:
        super().__init__(signature)
        self._url, self._headers = url, headers
        self._socket: websockets.ClientConnection | None = None

    async def __aenter__(self) -> AsyncRealtimeConnection:
        from websockets.asyncio.client import connect

        with opening(self._url):
            self._socket = await connect(
                self._url, additional_headers=self._headers, max_size=None
            )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._socket is not None:
            await self._socket.close()

    async def send(self, message: Any) -> None:
        """
        Send an input.

        Raises:
            EOFError: The session has ended; ``receive`` tells why.
        """
        from websockets.exceptions import ConnectionClosed

        try:
            await self._open().send(self.write(message))
        except ConnectionClosed as error:
            raise EOFError(f"The session has ended: {error}") from error

    async def receive(self) -> Any:
        """
        Wait for an answer and return it.

        Raises:
            AppClientError: The endpoint tells that it has failed.

            EOFError: The session has ended.
        """
        from websockets.exceptions import ConnectionClosed

        while True:
            try:
                frame = await self._open().recv()
            except ConnectionClosed as error:
                raise EOFError(f"The session has ended: {error}") from error
            is_answer, answer = self.read(frame)
            if is_answer:
                return answer

    async def __call__(self, message: Any) -> Any:
        """
        Send an input and return the next answer.

        Raises:
            As ``receive`` does.
        """
        with contextlib.suppress(EOFError):
            await self.send(message)
        return await self.receive()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                yield await self.receive()
            except EOFError:
                return

    def _open(self) -> websockets.ClientConnection:
        if self._socket is None:
            raise RuntimeError(
                "The session is not open: use it as 'async with client.name() as …'."
            )
        return self._socket
