"""
HTTP/1.1 connections of clients.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from aiohttp import web

from fal_server.errors import Invalid

logger = logging.getLogger(__name__)

#: The longest request line, in bytes: a path may contain a token.
_LONGEST_LINE = 16_384

_UNREADABLE = "The request cannot be read."


class Unreadable(Invalid):
    """
    A request, or its body, is not valid HTTP.
    """

    http = 400

    def __init__(self) -> None:
        super().__init__(_UNREADABLE)


class HttpConnection(web.RequestHandler):
    """
    One connection.

    A request that cannot be parsed is neither logged nor quoted in the response: the broken
    line may be the one with the key.
    """

    __slots__ = ()

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """
        Refuse a request that cannot be parsed, and close the connection.
        """
        _log(exc)
        if request.writer.output_size > 0:
            raise ConnectionError("The response has begun already.")
        sentence = _UNREADABLE if status < 500 else "An error occurred."
        answer = web.json_response({"detail": sentence}, status=status)
        answer.force_close()
        return answer

    def log_exception(self, *args: Any, **kw: Any) -> None:
        """
        Log an error. That of a broken body is logged without its text, which quotes the body.
        """
        error = kw.get("exc_info")
        if isinstance(error, web.RequestPayloadError):
            _log(error)
        else:
            super().log_exception(*args, **kw)


def _log(error: BaseException | None) -> None:
    logger.info("A request that cannot be read was refused: %s", type(error).__name__)


async def start_http(
    application: web.Application, *, drain: float
) -> tuple[web.AppRunner, Callable[[], HttpConnection]]:
    """
    Start an application. Return the runner that ends it, and the factory of its
    connections.

    When it ends, requests have *drain* seconds to finish.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=drain)
    await runner.setup()
    assert runner.server is not None
    return runner, connections_of(runner.server)


def connections_of(
    server: web.Server, *, inflates: bool = True
) -> Callable[[], HttpConnection]:
    """
    Return the factory of the connections of *server*.

    Arguments:
        inflates: Whether compressed bodies are decompressed. A gateway, which forwards
            them, leaves them as they are.
    """
    loop = asyncio.get_running_loop()
    quiet = logging.getLogger(f"{__name__}.access")
    quiet.disabled = True

    def connect() -> HttpConnection:
        return HttpConnection(
            server,
            loop=loop,
            access_log=quiet,
            max_line_size=_LONGEST_LINE,
            auto_decompress=inflates,
        )

    return connect
