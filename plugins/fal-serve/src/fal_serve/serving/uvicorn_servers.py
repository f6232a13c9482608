"""uvicorn's server, with the shutdown that a service needs."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn

from fal_serve.serving.loops import cancel_tasks

logger: logging.Logger = logging.getLogger("fal_serve")


class FalServer(uvicorn.Server):
    """A server that calls a function of yours when it is asked to shut down."""

    _handle_exit: Callable[[], Any] | None = None
    _told: asyncio.Future[Any] | None = None

    def set_handle_exit(self, handle_exit: Callable[[], Any]) -> None:
        """
        Have *handle_exit* called once, when the server is asked to shut down.

        A coroutine function runs on beside the last requests.
        """
        self._handle_exit = handle_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        handle_exit, self._handle_exit = self._handle_exit, None
        if handle_exit is not None:
            try:
                told = handle_exit()
            except BaseException:
                # SystemExit, too, would end the event loop instead of the service.
                logger.exception("handle_exit failed.")
            else:
                if inspect.isawaitable(told):
                    self._told = asyncio.ensure_future(_run_beside(told))


async def _run_beside(told: Awaitable[Any]) -> None:
    try:
        await told
    except asyncio.CancelledError:
        raise
    except BaseException:
        logger.exception("handle_exit failed.")


class ServiceServer(FalServer):
    """
    The server of a service, which awaits events instead of polling for them.

    Arguments:
        grace: Seconds that running requests have to finish. None waits for all.

        listening: Called once connections are accepted.
    """

    def __init__(
        self, config: uvicorn.Config, grace: float | None, listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._grace = grace
        self._listening = listening
        self._asked = asyncio.Event()
        self._hastened = asyncio.Event()
        self._handed: HandedConnections | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Signals are handled by the code that runs the service.
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._hastened.set()
        super().handle_exit(sig, frame)
        self._asked.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # uvicorn's own protocols do not recognise connections that were handed over.
        if sockets and not isinstance(self.config.http, str):
            self._handed = take_handed(sockets[0], self._make_handed)
        self._listening()

    def _make_handed(self) -> asyncio.Protocol:
        make: Any = self.config.http_protocol_class
        protocol: asyncio.Protocol = make(
            config=self.config,
            server_state=self.server_state,
            app_state=self.lifespan.state,
            is_handed=True,
        )
        return protocol

    async def main_loop(self) -> None:
        # The limit on requests is checked ten times as often as the date is updated.
        interval, every = (0.1, 10) if self.config.limit_max_requests is not None else (1.0, 1)
        count = 0
        while not await self.on_tick(0 if count % every == 0 else 1):
            count += 1
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._asked.wait(), interval)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._close_listeners(sockets)
        for connection in list(self.server_state.connections):
            connection.shutdown()
        finished = asyncio.ensure_future(self._finish())
        hastened = asyncio.ensure_future(self._hastened.wait())
        try:
            await asyncio.wait(
                [finished, hastened],
                timeout=self._grace,
                return_when=asyncio.FIRST_COMPLETED,
            )
        finally:
            finished.cancel()
            hastened.cancel()
            await self.abandon()

    async def abandon(self) -> None:
        """Cancel the running requests, and close all connections."""
        tasks = list(self.server_state.tasks)
        if tasks:
            logger.warning("%d requests were cancelled as the service ends.", len(tasks))
        await cancel_tasks(tasks)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        if self._handed is not None:
            self._handed.close()
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()

    async def _finish(self) -> None:
        """Wait until all requests have been answered, and their responses have been sent."""
        state = self.server_state
        while state.tasks or state.connections:
            if state.tasks:
                await asyncio.wait(list(state.tasks))
            else:
                await asyncio.sleep(0.01)


class StateLifespan:
    """The lifespan as uvicorn sees it. Setup and teardown run outside of it."""

    should_exit = False

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    async def startup(self) -> None:
        """Do nothing: the setup has ended."""

    async def shutdown(self) -> None:
        """Do nothing: the teardown follows."""


# Nothing has to be passed on for them any more: what accepts connections from other machines
# gives the service those that are for it, once it knows who they are of.

#: The variable that says how the local sockets of services are called, to which their port is
#: added.
_NAME = "FAL_CORE_CONNECTIONS"
#: How many are taken at once.
_MOST = 16


class HandedConnections:
    """
    Takes connections for a service, from the process that gave it the name of their socket.

    Arguments:
        port: That of the service.

        make: Makes the protocol of one.
    """

    def __init__(self, name: str, port: int, make: Callable[[], asyncio.Protocol]) -> None:
        self._make = make
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[None]] = set()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(f"\0{name}-{port}")
        self._socket.setblocking(False)
        self._loop.add_reader(self._socket, self._take)

    def _take(self) -> None:
        try:
            _, given, _, _ = socket.recv_fds(self._socket, 1, _MOST, socket.MSG_CMSG_CLOEXEC)
        except OSError:
            return
        for each in given:
            task = self._loop.create_task(self._serve(each))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _serve(self, descriptor: int) -> None:
        try:
            connection = socket.socket(fileno=descriptor)
        except OSError:
            os.close(descriptor)
            return
        try:
            connection.setblocking(False)
            await self._loop.connect_accepted_socket(self._make, connection)
        except (OSError, ValueError):
            connection.close()

    def close(self) -> None:
        """Take no more."""
        self._loop.remove_reader(self._socket)
        self._socket.close()


def take_handed(
    listener: socket.socket, make: Callable[[], asyncio.Protocol]
) -> HandedConnections | None:
    """
    Take the connections of a service that listens at *listener* too; None where nobody hands
    any over.
    """
    name = os.environ.get(_NAME)
    if not name or listener.family == socket.AF_UNIX:
        return None
    return HandedConnections(name, listener.getsockname()[1], make)
