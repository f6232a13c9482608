"""HTTP/1.1 connections of clients."""

from __future__ import annotations

import asyncio
import logging
import struct
from collections.abc import Awaitable, Callable
from typing import Any, cast

from aiohttp import web
from aiohttp.web_request import BaseRequest

from fal_server.errors import Invalid, Refusal
from fal_server.limits import Limits
from fal_server.listeners.open_connections import OpenConnection
from fal_server.listeners.stalls import StallWatch
from fal_server.listeners.websocket_messages import IncomingMessages, Memory, MeteredParser

logger = logging.getLogger(__name__)

#: The longest request line, in bytes: a path may contain a token.
_LONGEST_LINE = 16_384

#: The longest header, in bytes.
_LONGEST_HEADER = 8190

#: The longest reason for which a websocket is closed, in bytes.
_LONGEST_REASON = 123

_UNREADABLE = "The request cannot be read."

#: The header by which a replica of this server shows that it passes a request on.
RELAY = "Fal-Core-Relay"

#: Makes the protocol of a connection, of which other modules know the argument.
HttpFactory = Callable[..., "HttpConnection"]


class Unreadable(Invalid):
    """A request, or its body, is not valid HTTP."""

    http = 400

    def __init__(self) -> None:
        super().__init__(_UNREADABLE)


class HttpConnection(web.RequestHandler):
    """
    One connection.

    A request that cannot be parsed is neither logged nor quoted in the response: the broken
    line may be the one with the key.

    Attributes:
        visit: What is known of it among the other connections.

        stalls: How long its client is waited for.

        messages: The messages of a websocket that arrive over it. None where it is none.
    """

    __slots__ = ("messages", "stalls", "visit")

    def __init__(
        self,
        server: web.Server,
        visit: OpenConnection,
        limits: Limits,
        loop: asyncio.AbstractEventLoop,
        **options: Any,
    ) -> None:
        super().__init__(server, loop=loop, **options)
        self.visit = visit
        self.stalls = StallWatch(self, visit, limits, loop)
        self.messages: IncomingMessages | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin to wait for a request."""
        # The transports of uvloop do not inherit from asyncio's.
        made = cast(asyncio.Transport, transport)
        self.visit.abort = made.abort
        self.stalls.start(made)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        """Note that it has ended."""
        self.stalls.stop()
        self.visit.has_ended()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parse bytes that have come."""
        if data:
            self.stalls.hear()
        super().data_received(data)

    def set_parser(self, parser: Any, *arguments: Any, **options: Any) -> None:
        """Become a websocket."""
        if self.messages is not None:
            parser = MeteredParser(parser, self.messages)
        super().set_parser(parser, *arguments, **options)

    def count_messages(self, memory: Memory | None) -> IncomingMessages:
        """
        Count the messages of the websocket that it is about to become, and wait for each no
        longer than for a body.
        """

        def begin_message() -> None:
            self.stalls.receive(messages)

        self.messages = messages = IncomingMessages(self._end_websocket, begin_message, memory)
        return messages

    def _end_websocket(self, code: int, reason: str) -> None:
        text = reason.encode()[:_LONGEST_REASON]
        if self.transport is not None:
            self.transport.write(struct.pack("!BBH", 0x88, 2 + len(text), code) + text)
        self.force_close()

    def pause_reading(self) -> None:
        """Read no more for a while, as what was received is not used yet."""
        self.stalls.pause()
        super().pause_reading()

    def pause_writing(self) -> None:
        """Note that the client does not read what was sent."""
        super().pause_writing()
        self.stalls.block()

    def resume_writing(self) -> None:
        """Note that the client has read most of what was sent."""
        super().resume_writing()
        self.stalls.unblock()

    def log_access(
        self, request: web.BaseRequest, response: web.StreamResponse, time: float | None
    ) -> None:
        """Note that a request was answered. It is not logged."""
        self.stalls.end()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Refuse a request that cannot be parsed, and close the connection."""
        _log(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The response has begun already.")
        sentence = _UNREADABLE if status < 500 else "An error occurred."
        answer = web.json_response({"detail": sentence}, status=status)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """
        Log an error. That of a broken body is logged without its text, which quotes the body,
        and that of a body which stalled without a traceback.
        """
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError | Refusal):
            _log(error)
        else:
            super().log_exception(*args, **kw)


def _log(error: BaseException | None) -> None:
    logger.info("A request that cannot be read was refused: %s", type(error).__name__)


def begin(request: BaseRequest) -> None:
    """Note that *request* is handled from now on, so that its body is waited for."""
    connection = request.protocol
    if isinstance(connection, HttpConnection):
        connection.stalls.begin(request)
        if RELAY in request.headers:
            connection.visit.check_relay(request.headers[RELAY])


def is_relayed(request: BaseRequest) -> bool:
    """Return whether another replica of this server has passed *request* on."""
    connection = request.protocol
    return isinstance(connection, HttpConnection) and connection.visit.is_relayed


def tell_begun(request: BaseRequest) -> None:
    """Tell the replica that has passed *request* on, if one has, that it may run from now on."""
    if is_relayed(request) and request.transport is not None:
        request.transport.write(b"HTTP/1.1 102 Processing\r\n\r\n")


def recognise(request: BaseRequest) -> None:
    """Note that the sender of *request* has shown a valid key."""
    connection = request.protocol
    if isinstance(connection, HttpConnection):
        connection.visit.recognise()


def count_messages(request: BaseRequest, memory: Memory | None) -> IncomingMessages:
    """
    Count the messages of the websocket that *request* asks for, before it is opened.

    Arguments:
        memory: The memory that they take. None where that is not counted.
    """
    connection = request.protocol
    assert isinstance(connection, HttpConnection)
    return connection.count_messages(memory)


async def start_http(
    application: web.Application, *, drain: float, limits: Limits | None = None
) -> tuple[web.AppRunner, HttpFactory]:
    """
    Start an application. Return the runner that ends it, and the factory of its
    connections.

    When it ends, requests have *drain* seconds to finish.
    """
    application.middlewares.insert(0, _follow)
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=drain)
    await runner.setup()
    assert runner.server is not None
    return runner, connections_of(runner.server, limits)


@web.middleware
async def _follow(
    request: web.Request, handler: Callable[[web.Request], Awaitable[web.StreamResponse]]
) -> web.StreamResponse:
    begin(request)
    tell_begun(request)
    return await handler(request)


def connections_of(
    server: web.Server, limits: Limits | None = None, *, inflates: bool = True
) -> HttpFactory:
    """
    Return the factory of the connections of *server*, whose handler calls :func:`begin`.

    Arguments:
        inflates: Whether compressed bodies are decompressed. A gateway, which forwards
            them, leaves them as they are.
    """
    loop = asyncio.get_running_loop()
    quiet = logging.getLogger(f"{__name__}.access")
    quiet.disabled = True
    held = limits or Limits()

    def connect(visit: OpenConnection | None = None) -> HttpConnection:
        return HttpConnection(
            server,
            visit or OpenConnection(),
            held,
            loop,
            access_log=quiet,
            max_line_size=_LONGEST_LINE,
            max_field_size=_LONGEST_HEADER,
            auto_decompress=inflates,
        )

    return connect
