"""
Exchanges: a request and its answer, as they pass the middleware.
"""

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
    from fal_serve.answering.turns import Received

logger = logging.getLogger("fal_serve")

#: What the log says of a request whose client has gone before it was answered.
CLIENT_GONE = 499
#: After so many parts of a stream other requests have their turn. Sending waits for
#: nothing where the client reads fast, or is no longer there.
_PARTS = 16
#: The content type of a stream of events.
EVENTS = b"text/event-stream; charset=utf-8"
#: Seconds for which it is tried to tell a client why its stream ends.
_LAST_WORD = 1.0


def error_event(detail: Any) -> bytes:
    """
    Return the event that tells why a stream ends before its end.
    """
    data = json.dumps({"detail": detail}, separators=(",", ":"))
    return f"event: error\ndata: {data}\n\n".encode()


async def _nothing() -> None:
    """
    Take the place of a message that is not sent any more.
    """


def _hints_header(hints: Callable[[], list[str] | None]) -> bytes | None:
    """
    Return the value of ``X-Fal-Runner-Hints``, or None where there is none.
    """
    try:
        given = hints()
        if given is None:
            return None
        values = []
        for hint in given:
            if not hint.isprintable():
                # It would end the header, and break every answer.
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


class Connection(ABC):
    """
    What requests and websockets have in common.

    Attributes:
        started: Whether the answer has begun, or the websocket was accepted.

        ended: Whether all has been sent.

        silent: Whether the application's answer is dropped, as another was given.

        disconnected: Whether the client has gone before the end.

        answering: The task that answers in place of the application.

        size: The bytes that were sent, without heads.

        status: Of the answer; 101 for a websocket that was accepted.
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
        self.started = self.ended = self.silent = self.disconnected = False
        self.answering: asyncio.Task[None] | None = None
        self.size = 0
        self.status = 500

    def final_status(self) -> int:
        """
        Return the status that the log and the metrics tell.
        """
        return self.status

    def resume(self, came: Received) -> None:
        """
        Receive what came while there was no turn first.
        """
        self._receive = came.receive

    @abstractmethod
    async def receive(self) -> Any:
        """
        Receive the next message of the client.
        """

    @abstractmethod
    def send(self, message: Any) -> Awaitable[None]:
        """
        Send a message of the application.
        """

    @abstractmethod
    async def answer(self, status: int, detail: str) -> None:
        """
        Answer in place of the application.
        """

    @abstractmethod
    async def close(self) -> bool:
        """
        End what the application has begun; return False where that cannot be done well.
        """


class Exchange(Connection):
    """
    One HTTP request and its answer.
    """

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
            # The application may send the same list again: it is not added to.
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
        """
        Answer in place of the application, whose own answer is dropped.
        """
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
        """
        Let the body have *limit* bytes; tell whether it says that it has more.
        """
        self._limit = limit
        return length is not None and length.isdigit() and int(length) > limit

    async def refuse(self) -> None:
        """
        Answer that the body is too large, unless an answer has begun.
        """
        if not self.started:
            await self.answer(
                413,
                f"The body is larger than the {self._limit} bytes that a request may have.",
                x_fal_billable_units="0",
            )

    def expire(self, task: asyncio.Task[Any], seconds: float) -> None:
        """
        Cancel the handler, and answer that its time is over, or end the stream with that.
        """
        if self.ended:
            return
        detail = f"The request took longer than its request_timeout of {seconds:g} s."
        if self.started:
            self.silent, self._expired = True, detail
            logger.warning("%s Its answer had begun, and was broken off.", detail)
        else:
            self.answering = asyncio.ensure_future(self.answer(504, detail))
        task.cancel()

    async def close(self) -> bool:
        if self._expired and (b"content-type", EVENTS) in self._head:
            event = error_event(self._expired)
            self.size += len(event)
            last = {"type": "http.response.body", "body": event, "more_body": True}
            with contextlib.suppress(asyncio.TimeoutError):
                # A client that reads nothing is not waited for.
                await asyncio.wait_for(self._send(last), _LAST_WORD)
        return False


class Session(Connection):
    """
    One websocket.
    """

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

    async def close(self) -> bool:
        self.ended = True
        if not self.disconnected:
            await self._send({"type": "websocket.close", "code": 1011})
        return True
