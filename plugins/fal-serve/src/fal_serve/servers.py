"""
The server of one service: from its setup to the last request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import TYPE_CHECKING

import uvicorn

from fal_core_worker import services
from fal_serve.settings import Settings

if TYPE_CHECKING:
    from fal_serve.servables import BaseServable

logger = logging.getLogger("fal_serve")


class FalServer(uvicorn.Server):
    """
    A server that tells a function of yours when it is asked to end.
    """

    _handle_exit: Callable[[], None] | None = None

    def set_handle_exit(self, handle_exit: Callable[[], None]) -> None:
        """
        Have *handle_exit* called when the server is asked to end.
        """
        self._handle_exit = handle_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        if self._handle_exit is not None:
            try:
                self._handle_exit()
            except Exception:
                logger.exception("handle_exit failed")


class ServiceServer(FalServer):
    """
    The server of a service, which has signals of its own.
    """

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


def bind(host: str, port: int) -> socket.socket:
    """
    Return a socket that has an address, and does not listen yet.

    Who connects too early is refused: an open port says that the service is ready.

    Raises:
        OSError: The port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise OSError(
            error.errno, f"The service cannot listen on {host}:{port}: {error.strerror}."
        ) from error
    return listener


class Service:
    """
    A servable while it is served.

    Arguments:
        port: 0 takes a free one.
    """

    def __init__(
        self, servable: BaseServable, settings: Settings, *, port: int, metrics_port: int
    ) -> None:
        self._servable = servable
        self._settings = settings
        self._port = port
        self._metrics_port = metrics_port
        self._server: ServiceServer | None = None

    async def run(self, *, limit_max_requests: int | None = None) -> None:
        """
        Serve until drained, or cancelled.
        """
        config = uvicorn.Config(
            self._servable.build_application(),
            lifespan="on",
            access_log=False,
            log_config=None,
            limit_max_requests=limit_max_requests,
            timeout_graceful_shutdown=self._settings.termination_grace,  # type: ignore[arg-type]
        )
        server = self._server = ServiceServer(config)
        server.set_handle_exit(self._servable.handle_exit)
        listener = bind(self._settings.host, self._port)
        host, port = listener.getsockname()[:2]
        task = asyncio.ensure_future(server.serve(sockets=[listener]))
        while not (server.started or task.done()):
            await asyncio.sleep(0.005)
        if not task.done():
            services.announce({"run": f"http://{host}:{port}"})
        await task

    def drain(self) -> None:
        """
        Take no more requests, and end once those that run have finished.
        """
        if self._server is not None:
            self._server.handle_exit(15, None)
