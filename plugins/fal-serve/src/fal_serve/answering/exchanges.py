"""Exchanges: a request and its response, as they pass through the middleware."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any

from fal_serve.answering.requests import CDN_TOKEN, REQUEST_ID, IncomingRequest

if TYPE_CHECKING:
    from fal_serve.answering.turns import ReceivedMessages

logger: logging.Logger = logging.getLogger("fal_serve")

#: The status, in the log and metrics, of a request whose client has disconnected.
CLIENT_GONE = 499
#: After so many parts of a stream, other tasks of the event loop run. Sending does not
#: yield to them by itself while the client reads fast, or after it has disconnected.
_PARTS = 16
#: The content type of a stream of events.
EVENTS = b"text/event-stream; charset=utf-8"
#: Seconds for sending the event that tells a client why its stream ends.
_LAST_WORD = 1.0


def error_event(detail: Any) -> bytes:
    """Return the event that tells why a stream ends early."""
    data = json.dumps({"detail": detail}, separators=(",", ":"))
    return f"event: error\ndata: {data}\n\n".encode()


async def _nothing() -> None:
    """Stand in for a message that is not sent any more."""


def _hints_header(hints: Callable[[], list[str] | None]) -> bytes | None:
    """Return the value of ``X-Fal-Runner-Hints``, or None if there are no hints."""
    try:
        given = hints()
        if given is None:
            return None
        values = []
        for hint in given:
            if not hint.isprintable():
                # A line break would end the header, and break every response.
                logger.warning("The hint %r is left out: it has control characters.", hint)
                continue
            try:
                values.append(hint.encode("latin-1"))
            except UnicodeEncodeError:
                logger.warning("The hint %r is left out: it is not latin-1.", hint)
        return b",".join(values)
    except Exception:
        logger.exception("The hints of the service failed.")
        return None


class Exchange(ABC):
    """
    The part that HTTP requests and websockets have in common.

    Attributes:
        started: Whether the response has begun, or the websocket was accepted.

        ended: Whether the last message has been sent.

        silent: Whether the application's response is dropped, as another one was sent.

        disconnected: Whether the client has disconnected before the end.

        answering: The task that sends a response in place of the application.

        size: The bytes that were sent, without headers.

        status: Of the response; 101 for a websocket that was accepted.
    """

    __slots__ = (
        "_raw_id",
        "_receive",
        "_send",
        "answering",
        "disconnected",
        "ended",
        "silent",
        "size",
        "started",
        "status",
    )

    def __init__(
        self,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
        raw_id: bytes,
    ) -> None:
        self._receive = receive
        self._send = send
        self._raw_id = raw_id
        self.started: bool = False
        self.ended: bool = False
        self.silent: bool = False
        self.disconnected: bool = False
        self.answering: asyncio.Task[None] | None = None
        self.size: int = 0
        self.status: int = 500

    def final_status(self) -> int:
        """Return the status for the log and the metrics."""
        return self.status

    def resume(self, came: ReceivedMessages) -> None:
        """Receive the messages that came while the request waited for its turn first."""
        self._receive = came.receive

    @abstractmethod
    async def receive(self) -> Any:
        """Receive the next message from the client."""

    @abstractmethod
    def send(self, message: Any) -> Awaitable[None]:
        """Send a message of the application."""

    @abstractmethod
    async def answer(self, status: int, detail: str) -> None:
        """Send a response in place of the application."""

    @abstractmethod
    async def close(self, reason: str) -> bool:
        """
        End the response that has begun; return False if the connection has to be broken off.

        Arguments:
            reason: Told to the client of a websocket. It may be empty.
        """


class HTTPExchange(Exchange):
    """One HTTP request and its response."""

    __slots__ = ("_expired", "_head", "_hints", "_limit", "_parts", "_received", "_request")

    def __init__(
        self,
        receive: Callable[[], Awaitable[Any]],
        send: Callable[[Any], Awaitable[None]],
        raw_id: bytes,
        request: IncomingRequest,
        hints: Callable[[], list[str] | None],
    ) -> None:
        super().__init__(receive, send, raw_id)
        self._request = request
        self._hints = hints
        self._limit = self._received = self._parts = 0
        self._head: list[tuple[bytes, bytes]] = []
        self._expired = ""

    def final_status(self) -> int:
        return CLIENT_GONE if self.disconnected else self.status

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "http.disconnect":
            if not self.ended:
                self.disconnected = True
            return message
        if self._limit:
            self._received += len(message.get("body") or b"")
            if self._received > self._limit:
                await self.refuse()
                return {"type": "http.disconnect"}
        return message

    def send(self, message: Any) -> Awaitable[None]:
        if self.silent:
            return _nothing()
        if message["type"] == "http.response.body":
            self.size += len(message.get("body") or b"")
            if not message.get("more_body"):
                self.ended = True
            else:
                self._parts += 1
                if not self._parts % _PARTS:
                    return self._send_and_rest(message)
        elif message["type"] == "http.response.start":
            self.started = True
            self.status = message["status"]
            # The application may send the same list again, so that it is not changed.
            self._head = self._headers(message.get("headers") or ())
            message = {**message, "headers": self._head}
        return self._send(message)

    async def _send_and_rest(self, message: Any) -> None:
        await self._send(message)
        await asyncio.sleep(0)

    def _headers(self, given: Any) -> list[tuple[bytes, bytes]]:
        headers = [*given, (REQUEST_ID, self._raw_id)]
        hints = _hints_header(self._hints)
        if hints is not None:
            headers.append((b"x-fal-runner-hints", hints))
        token = self._request.reissued_token
        if token is not None:
            headers.append((CDN_TOKEN.encode(), token.encode("latin-1", "replace")))
        return headers

    # -- in place of the application -----------------------------------------------

    async def answer(self, status: int, detail: str, **headers: str) -> None:
        """Send a response in place of the application, whose own is dropped."""
        body = json.dumps({"detail": detail}).encode()
        lines = [
            (b"content-type", b"application/json"),
            (b"content-length", str(len(body)).encode()),
            *(
                (name.replace("_", "-").encode(), value.encode())
                for name, value in headers.items()
            ),
        ]
        await self.send({"type": "http.response.start", "status": status, "headers": lines})
        send, self.silent = self._send, True
        self.size, self.ended = len(body), True
        await send({"type": "http.response.body", "body": body, "more_body": False})

    def limit(self, length: bytes | None, limit: int) -> bool:
        """Limit the body to *limit* bytes; tell whether ``Content-Length`` exceeds that."""
        self._limit = limit
        return length is not None and length.isdigit() and int(length) > limit

    async def refuse(self) -> None:
        """Send a 413 response, unless a response has begun."""
        if not self.started:
            await self.answer(
                413,
                f"The body is larger than the {self._limit} bytes that a request may have.",
                x_fal_billable_units="0",
            )

    def expire(self, task: asyncio.Task[Any], seconds: float) -> None:
        """Cancel the handler and send a 504 response, or break off a response that has begun."""
        if self.ended:
            return
        detail = f"The request took longer than its request_timeout of {seconds:g} s."
        if self.started:
            self.silent, self._expired = True, detail
            logger.warning("%s Its response had begun, and was cut off.", detail)
        else:
            self.answering = asyncio.ensure_future(self.answer(504, detail))
        task.cancel()

    async def close(self, reason: str) -> bool:
        if self._expired and (b"content-type", EVENTS) in self._head:
            event = error_event(self._expired)
            self.size += len(event)
            last = {"type": "http.response.body", "body": event, "more_body": True}
            with contextlib.suppress(asyncio.TimeoutError):
                # Do not wait for a client that reads nothing.
                await asyncio.wait_for(self._send(last), _LAST_WORD)
        return False


class WebsocketExchange(Exchange):
    """One websocket."""

    __slots__ = ()

    async def receive(self) -> Any:
        message = await self._receive()
        if message["type"] == "websocket.disconnect":
            self.disconnected = True
        return message

    def send(self, message: Any) -> Awaitable[None]:
        kind = message["type"]
        if kind == "websocket.send":
            self.size += len(message.get("bytes") or message.get("text") or b"")
        elif kind == "websocket.close":
            if not self.started:
                self.status = 403
            self.ended = True
        elif kind in ("websocket.accept", "websocket.http.response.start"):
            self.started = True
            self.status = message.get("status", 101)
            headers = [*(message.get("headers") or ()), (REQUEST_ID, self._raw_id)]
            message = {**message, "headers": headers}
        elif kind == "websocket.http.response.body" and not message.get("more_body"):
            self.ended = True
        return self._send(message)

    async def answer(self, status: int, detail: str) -> None:
        body = json.dumps({"detail": detail}).encode()
        lines = [(b"content-type", b"application/json")]
        await self.send(
            {"type": "websocket.http.response.start", "status": status, "headers": lines}
        )
        await self.send({"type": "websocket.http.response.body", "body": body})

    async def close(self, reason: str) -> bool:
        self.ended = True
        if not self.disconnected:
            await self._send({"type": "websocket.close", "code": 1011, "reason": reason})
        return True
