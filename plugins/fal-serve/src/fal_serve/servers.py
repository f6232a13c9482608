"""
The server of one service: from its setup to the last request.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from types import CodeType, FrameType
from typing import TYPE_CHECKING, Any

import uvicorn
from anyio import to_thread

from fal_core_worker import current
from fal_core_worker.serving import services
from fal_serve.batches import Batcher
from fal_serve.deferrals import uncollected
from fal_serve.garbage import frozen
from fal_serve.listeners import bind, url_of
from fal_serve.logs import ServerLog, log_error
from fal_serve.loops import draining
from fal_serve.metrics import Metrics
from fal_serve.middlewares import Operations
from fal_serve.playground import PATH, STATE_PATH, add_playground
from fal_serve.probes import Phase, ProbeServer
from fal_serve.settings import Settings, wants_playground, with_own_limits
from fal_serve.startups import SetupGuard
from fal_serve.threads import current_threads
from fal_serve.watching import Watchdog

if TYPE_CHECKING:
    from fal_serve.applications import FalFastAPI
    from fal_serve.servables import BaseServable

logger = logging.getLogger("fal_serve")

#: Seconds that a request which was cancelled may take to end.
_LAST_GRACE = 1.0
#: Seconds for which a connection is kept that asks nothing more.
_KEEP_ALIVE = 300


class FalServer(uvicorn.Server):
    """
    A server that tells a function of yours when it is asked to end.
    """

    _handle_exit: Callable[[], Any] | None = None
    _told: asyncio.Future[Any] | None = None

    def set_handle_exit(self, handle_exit: Callable[[], Any]) -> None:
        """
        Have *handle_exit* called, once, when the server is asked to end.

        What a coroutine function does then goes on beside the last requests.
        """
        self._handle_exit = handle_exit

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        super().handle_exit(sig, frame)
        handle_exit, self._handle_exit = self._handle_exit, None
        if handle_exit is not None:
            try:
                told = handle_exit()
                if inspect.isawaitable(told):
                    self._told = asyncio.ensure_future(told)
            except Exception:
                logger.exception("handle_exit failed.")


class ServiceServer(FalServer):
    """
    The server of a service, which waits for what happens instead of looking for it.

    Arguments:
        grace: Seconds that running requests have to finish. None gives them all.

        listening: Called once requests are taken.
    """

    def __init__(
        self, config: uvicorn.Config, grace: float | None, listening: Callable[[], None]
    ) -> None:
        super().__init__(config)
        self._grace = grace
        self._listening = listening
        self._asked = asyncio.Event()
        self._hastened = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        # Whoever runs the service has handlers of its own.
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            self._hastened.set()
        super().handle_exit(sig, frame)
        self._asked.set()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._listening()

    async def main_loop(self) -> None:
        # Requests are counted ten times as often as the date is set.
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
        """
        Cancel the requests that run, and close all connections.
        """
        tasks = list(self.server_state.tasks)
        if tasks:
            logger.warning("%d requests were cancelled as the service ends.", len(tasks))
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=_LAST_GRACE)
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _close_listeners(self, sockets: list[socket.socket] | None) -> None:
        for server in self.servers:
            server.close()
        for listener in sockets or ():
            listener.close()

    async def _finish(self) -> None:
        """
        Wait until all requests have been answered, and their answers have been sent.
        """
        state = self.server_state
        while state.tasks or state.connections:
            if state.tasks:
                await asyncio.wait(list(state.tasks))
            else:
                await asyncio.sleep(0.01)


class StateLifespan:
    """
    The lifespan as uvicorn knows it, which has begun before and ends afterwards.
    """

    should_exit = False

    def __init__(self, state: dict[str, Any]) -> None:
        self.state = state

    async def startup(self) -> None:
        """
        Do nothing: the setup has ended.
        """

    async def shutdown(self) -> None:
        """
        Do nothing: the teardown follows.
        """


def websocket_protocol(**arguments: Any) -> asyncio.Protocol:
    """
    Return the protocol of one websocket; the first one imports what it needs.
    """
    from fal_serve.websocket_protocols import WebsocketProtocol

    return WebsocketProtocol(**arguments)


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
        self._settings = with_own_limits(settings)
        self._port = port
        self._metrics_port = metrics_port
        self._server: ServiceServer | None = None
        self._phase = Phase()
        self._setup: asyncio.Task[Any] | None = None
        self._drained = False

    async def run(
        self, *, limit_max_requests: int | None = None, signals: bool = False
    ) -> None:
        """
        Serve until drained, or cancelled.

        Arguments:
            signals: Whether SIGTERM and SIGINT drain; who calls ``drain`` leaves it.
        """
        try:
            await self._run(limit_max_requests, signals=signals)
        except asyncio.CancelledError:
            # A setup that was asked to end has done so.
            if not self._drained or self._phase.started:
                raise

    async def _run(self, limit_max_requests: int | None, *, signals: bool) -> None:
        servable, settings = self._servable, self._settings
        metrics = Metrics(servable.version)
        with contextlib.ExitStack() as stack:
            stack.enter_context(ServerLog())
            # A host that leads requests here from another machine says so.
            address = getattr(current.runtime, "address", None) or settings.host
            listener = stack.enter_context(bind(address, self._port))
            probed = bind(
                address,
                self._metrics_port,
                "port of its metrics",
                "Declare another metrics_port.",
            )
            stack.enter_context(ProbeServer(probed, metrics, self._phase))
            if signals:
                stack.enter_context(draining(self.drain))
            with uncollected():
                application = servable.build_application()
            playground = settings.playground and wants_playground()
            if playground:
                add_playground(application)
            operations = Operations(
                application,
                servable,
                settings,
                metrics,
                counted=[
                    each.path for each in servable.collect_routes() if not each.health_check
                ],
                labels=[
                    path for each in application.routes if (path := getattr(each, "path", ""))
                ],
                unlogged=[STATE_PATH] if playground else [],
            )
            config = self._configure(operations, limit_max_requests)
            urls = {"run": url_of(listener), "metrics": url_of(probed)}
            if playground:
                urls["playground"] = urls["run"] + PATH
            async with (
                threads_for(settings.max_multiplexing),
                self._life(application) as state,
                # Where the process is its own, and not of who calls run_local.
                frozen() if current.runtime is not None else contextlib.nullcontext(),
            ):
                operations.trace()
                config.lifespan_class = lambda _: StateLifespan(state)
                server = self._server = ServiceServer(
                    config, settings.termination_grace, lambda: self._listen(urls)
                )
                server.set_handle_exit(servable.handle_exit)
                stack.enter_context(Watchdog(settings, self._phase, find_markers()))
                await self._serve(server, listener)

    def drain(self) -> None:
        """
        Take no more requests, and end once those that run have finished.

        Asked again it does not wait for them.
        """
        self._phase.drain()
        self._drained = True
        if self._server is not None:
            self._server.handle_exit(signal.SIGTERM, None)
        elif self._setup is not None:
            self._setup.cancel()

    def _listen(self, urls: dict[str, str]) -> None:
        self._phase.begin()
        services.announce(urls)

    def _configure(self, operations: Operations, limit: int | None) -> uvicorn.Config:
        config = uvicorn.Config(
            operations,
            http=http_protocol(self._settings),
            # A function in place of the class, which it imports.
            ws=websocket_protocol,  # type: ignore[arg-type]
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            # A proxy is asked about in the middleware, where it costs nothing.
            proxy_headers=False,
            server_header=False,
            timeout_keep_alive=_KEEP_ALIVE,
            limit_max_requests=limit,
            ws_max_size=self._settings.max_message_size,
        )
        config.load()
        return config

    async def _serve(self, server: ServiceServer, listener: socket.socket) -> None:
        try:
            await server.serve(sockets=[listener])
        except asyncio.CancelledError:
            await server.abandon()
            raise
        finally:
            self._phase.drain()

    @contextlib.asynccontextmanager
    async def _life(self, application: FalFastAPI) -> AsyncIterator[dict[str, Any]]:
        """
        Set up, and tear down however the service ends.
        """
        context = application.router.lifespan_context(application)
        self._setup = asyncio.current_task()
        try:
            state = await SetupGuard(self._settings.startup_timeout).run(context.__aenter__())
        except Exception as error:
            log_error(error, "The setup failed.")
            raise
        try:
            yield dict(state or {})
        finally:
            try:
                # A lifespan that has no ``finally`` tears down as well.
                await context.__aexit__(None, None, None)
            except Exception as error:
                log_error(error, "The teardown failed.")
                raise


def find_markers() -> list[CodeType]:
    """
    Return what requests are answered within; a variable of each names the request.
    """
    # It imports FastAPI, and probes are to answer before that.
    from fal_serve.events import EventStream

    return [each.__code__ for each in (Operations.__call__, EventStream.pump, Batcher.call)]


@contextlib.asynccontextmanager
async def threads_for(count: int | None) -> AsyncIterator[None]:
    """
    Let *count* handlers that are no coroutines run at once, each on a thread.
    """
    threads = current_threads()
    threads.limit = max(threads.limit, count or 0)
    # Dependencies of FastAPI's have other threads.
    limiter = to_thread.current_default_thread_limiter()
    limiter.total_tokens = max(limiter.total_tokens, count or 0)
    try:
        yield
    finally:
        await threads.close()


def http_protocol(settings: Settings) -> Any:
    """
    Return what makes the protocol of a connection; the fast one, where it installs.
    """
    try:
        from fal_serve.protocols import ServiceProtocol
    except ImportError:
        return "auto"
    return functools.partial(ServiceProtocol, head_timeout=settings.head_timeout)
