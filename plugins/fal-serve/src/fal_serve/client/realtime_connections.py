"""The client's end of realtime endpoints."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from fal_core_worker.serving.routes import RouteSignature
from fal_serve.client.websocket_connections import AsyncWebsocketConnection, WebsocketConnection
from fal_serve.exceptions import AppClientError
from fal_serve.realtime_sessions import codecs
from fal_serve.realtime_sessions.codecs import type_adapter

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from typing_extensions import Self


class MessageCodec:
    """
    The part that both connections have in common: how messages become bytes.

    Attributes:
        timings: The seconds that the handler took for each output, if the endpoint emits
            them.
    """

    def __init__(self, signature: RouteSignature) -> None:
        self._encode, self._decode = codecs.codec_of(signature)
        # A codec of the route's own may write text, as the session does about itself.
        self._reads_text = signature.encode_message is not None
        output = signature.output_modal
        self._output: TypeAdapter[Any] | None = None if output is None else type_adapter(output)
        self.timings: list[float] = []

    def write(self, message: Any) -> bytes:
        """Return *message* as bytes."""
        return self._encode(codecs.dump(message))

    def read(self, frame: bytes | str) -> tuple[bool, Any]:
        """
        Return whether *frame* is an output, and the output.

        Raises:
            AppClientError: It is an error.
        """
        if isinstance(frame, bytes):
            return True, self._read_output(frame)
        told = _read_notice(frame)
        if told is None and self._reads_text:
            return True, self._read_output(frame.encode())
        if told is None:
            return False, None
        if told["type"] == "x-fal-error":
            raise AppClientError(f"{told.get('error')}: {told.get('reason')}", 500)
        if told.get("action") == "timings":
            self.timings.append(told["timing"])
        return False, None

    def _read_output(self, data: bytes) -> Any:
        output = self._decode(data)
        return output if self._output is None else self._output.validate_python(output)


def _read_notice(text: str) -> dict[str, Any] | None:
    """Return what the service says about the session in *text*; None if it is an output."""
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        return None
    is_notice = isinstance(told, dict) and told.get("type") in ("x-fal-error", "x-fal-message")
    return told if is_notice else None


class RealtimeConnection(MessageCodec):
    """A session of a realtime endpoint, as a context manager."""

    def __init__(self, url: str, signature: RouteSignature, headers: dict[str, str]) -> None:
        super().__init__(signature)
        self._frames = WebsocketConnection(url, headers)

    def __enter__(self) -> Self:
        self._frames.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        self._frames.__exit__(*error)

    def send(self, message: Any) -> None:
        """
        Send an input.

        Raises:
            EOFError: The session has ended; ``receive`` raises the reason.
        """
        self._frames.send(self.write(message))

    def receive(self, timeout: float | None = None) -> Any:
        """
        Wait for an output and return it.

        Raises:
            AppClientError: The endpoint has failed.

            TimeoutError: None has arrived within *timeout* seconds.

            EOFError: The session has ended.
        """
        while True:
            is_output, output = self.read(self._frames.receive(timeout))
            if is_output:
                return output

    def __call__(self, message: Any, timeout: float | None = None) -> Any:
        """Send an input and return the next output, or raise what ``receive`` does."""
        with contextlib.suppress(EOFError):
            self.send(message)
        return self.receive(timeout)

    def __iter__(self) -> Iterator[Any]:
        while True:
            try:
                yield self.receive()
            except EOFError:
                return


class AsyncRealtimeConnection(MessageCodec):
    """A session of a realtime endpoint, as an async context manager."""

    def __init__(self, url: str, signature: RouteSignature, headers: dict[str, str]) -> None:
        super().__init__(signature)
        self._frames = AsyncWebsocketConnection(url, headers)

    async def __aenter__(self) -> Self:
        await self._frames.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._frames.__aexit__(*error)

    async def send(self, message: Any) -> None:
        """
        Send an input.

        Raises:
            EOFError: The session has ended; ``receive`` raises the reason.
        """
        await self._frames.send(self.write(message))

    async def receive(self) -> Any:
        """
        Wait for an output and return it.

        Raises:
            AppClientError: The endpoint has failed.

            EOFError: The session has ended.
        """
        while True:
            is_output, output = self.read(await self._frames.receive())
            if is_output:
                return output

    async def __call__(self, message: Any) -> Any:
        """Send an input and return the next output, or raise what ``receive`` does."""
        with contextlib.suppress(EOFError):
            await self.send(message)
        return await self.receive()

    async def __aiter__(self) -> AsyncIterator[Any]:
        while True:
            try:
                yield await self.receive()
            except EOFError:
                return
