"""
Connections of HTTP/1.1.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web

logger = logging.getLogger(__name__)

#: The longest first line of a request: a path may have a token in it.
_LONGEST_LINE = 16_384


class Connection(web.RequestHandler):
    """
    One connection.

    What cannot be read is refused without telling, or logging, what it was: the line
    that is broken may be the one with the key.
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
        Refuse what cannot be read, and end the connection.
        """
        logger.info("A request that cannot be read was refused: %s", type(exc).__name__)
        if request.writer.output_size > 0:
            raise ConnectionError("The answer has begun already.")
        sentence = "The request cannot be read." if status < 500 else "An error occurred."
        answer = web.json_response({"detail": sentence}, status=status)
        answer.force_close()
        return answer


async def start_http(
    application: web.Application, *, drain: float
) -> tuple[web.AppRunner, Callable[[], Connection]]:
    """
    Start an application, and return what ends it and what makes its connections.

    At the end requests have *drain* seconds to finish.
    """
    runner = web.AppRunner(application, access_log=None, shutdown_timeout=drain)
    await runner.setup()
    server, loop = runner.server, asyncio.get_running_loop()
    assert server is not None
    quiet = logging.getLogger(f"{__name__}.access")
    quiet.disabled = True

    def connect() -> Connection:
        return Connection(server, loop=loop, access_log=quiet, max_line_size=_LONGEST_LINE)

    return runner, connect
