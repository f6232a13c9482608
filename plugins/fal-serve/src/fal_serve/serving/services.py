"""A service from its setup to its last request."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from types import CodeType
from typing import TYPE_CHECKING, Any, Protocol

import uvicorn
from anyio import to_thread

from fal_core_worker import current
from fal_core_worker.serving import services
from fal_serve.answering.batches import RequestBatcher
from fal_serve.answering.logs import ServerLog, log_error
from fal_serve.answering.metrics import ServiceMetrics
from fal_serve.answering.middlewares import RequestMiddleware
from fal_serve.answering.threads import current_pool
from fal_serve.declaring.settings import (
    METRICS_PORT,
    PORT,
    ServiceSettings,
    apply_limit_variables,
    wants_cors,
    wants_playground,
)
from fal_serve.media.kept_files import keeping
from fal_serve.media.routes import add_media
from fal_serve.playground.pages import PATH, STATE_PATH, add_playground
from fal_serve.serving.cross_origin import CrossOrigin
from fal_serve.serving.garbage import frozen
from fal_serve.serving.listeners import bind, url_of
from fal_serve.serving.loops import drain_on_signals
from fal_serve.serving.probes import Phase, ProbeServer
from fal_serve.serving.startups import SetupGuard
from fal_serve.serving.uvicorn_servers import ServiceServer, StateLifespan
from fal_serve.serving.watching import Watchdog

if TYPE_CHECKING:
    from starlette.types import ASGIApp

    from fal_core_worker.serving.routes import RouteSignature
    from fal_serve.serving.applications import FalFastAPI

#: Seconds for which an idle connection is kept open.
_KEEP_ALIVE = 300


def websocket_protocol(**arguments: Any) -> asyncio.Protocol:
    """Return the protocol of one websocket, imported on the first call."""
    from fal_serve.serving.websocket_protocols import WebsocketProtocol

    return WebsocketProtocol(**arguments)


class Servable(Protocol):
    """The part of a servable that a service needs."""

    @property
    def version(self) -> str:
        """The version in the metrics."""

    @property
    def cors(self) -> bool:
        """Whether pages of all origins may send requests from a browser."""

    def build_application(self) -> FalFastAPI:
        """Return the ASGI application of the routes."""

    def collect_routes(self) -> Mapping[RouteSignature, Callable[..., Any]]:
        """Return the handlers by their routes."""

    def hints(self) -> list[str] | None:
        """Return the hints that go with each response, or None."""

    def handle_exit(self) -> Any:
        """React to the request to shut down."""


class RunningService:
    """
    A servable while it is served.

    Arguments:
        port: 0 takes a free port, and None the usual one.

        metrics_port: Likewise; None takes the declared one first.
    """

    def __init__(
        self,
        servable: Servable,
        settings: ServiceSettings,
        *,
        port: int | None,
        metrics_port: int | None,
    ) -> None:
        declared = METRICS_PORT if settings.metrics_port is None else settings.metrics_port
        self._servable = servable
        self._settings = apply_limit_variables(settings)
        self._port = PORT if port is None else port
        self._metrics_port = declared if metrics_port is None else metrics_port
        self._server: ServiceServer | None = None
        self._phase = Phase()
        self._setup: asyncio.Task[Any] | None = None
        self._drained = False

    async def run(
        self, *, limit_max_requests: int | None = None, signals: bool = False
    ) -> None:
        """
        Serve until drained or cancelled.

        Arguments:
            signals: Whether SIGTERM and SIGINT drain the service. Code that calls ``drain``
                itself leaves them alone.
        """
        try:
            await self._run(limit_max_requests, signals=signals)
        except asyncio.CancelledError:
            # The setup was cancelled by drain().
            if not self._drained or self._phase.started:
                raise

    async def _run(self, limit_max_requests: int | None, *, signals: bool) -> None:
        servable, settings = self._servable, self._settings
        metrics = ServiceMetrics(servable.version)
        with contextlib.ExitStack() as stack:
            stack.enter_context(ServerLog())
            # Set by a host that routes requests here from another machine.
            given = current.runtime.address if current.runtime is not None else None
            address = settings.host or given or "127.0.0.1"
            listener = stack.enter_context(bind(address, self._port))
            probed = bind(
                address,
                self._metrics_port,
                "port of its metrics",
                "Declare another metrics_port.",
                name="metrics",
            )
            stack.enter_context(ProbeServer(probed, metrics, self._phase))
            if signals:
                stack.enter_context(drain_on_signals(self.drain))
            application = servable.build_application()
            urls = {"run": url_of(listener), "metrics": url_of(probed)}
            add_media(application, stack.enter_context(keeping(urls["run"])))
            playground = settings.playground and wants_playground()
            if playground:
                add_playground(application)
                urls["playground"] = urls["run"] + PATH
            operations = RequestMiddleware(
                application,
                settings,
                metrics,
                counted=[
                    each.path for each in servable.collect_routes() if not each.health_check
                ],
                labels=[
                    path for each in application.routes if (path := getattr(each, "path", ""))
                ],
                hints=servable.hints,
                unlogged=[STATE_PATH] if playground else [],
            )
            served: ASGIApp = operations
            if settings.cors and servable.cors and wants_cors():
                served = CrossOrigin(operations, application)
            config = self._configure(served, limit_max_requests)
            async with (
                threads_for(settings.max_multiplexing),
                self._life(application) as state,
                # Only in a process of the service's own, not in that of run_local.
                frozen() if current.runtime is not None else contextlib.nullcontext(),
            ):
                operations.trace()
                config.lifespan_class = lambda _: StateLifespan(state)
                server = self._server = ServiceServer(
                    config, settings.termination_grace, lambda: self._listen(urls)
                )
                server.set_handle_exit(servable.handle_exit)
                stack.enter_context(Watchdog(settings, self._phase, request_code_objects()))
                await self._serve(server, listener)

    def drain(self) -> None:
        """
        Take no more requests, and end once the running ones have finished.

        Called again, it ends without waiting for them.
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

    def _configure(self, served: ASGIApp, limit: int | None) -> uvicorn.Config:
        config = uvicorn.Config(
            served,
            http=http_protocol(self._settings),
            # A function instead of the class, to import websockets on the first one.
            ws=websocket_protocol,  # type: ignore[arg-type]
            interface="asgi3",
            lifespan="off",
            access_log=False,
            log_config=None,
            log_level="warning",
            # Done in the middleware, and only for requests that came through a proxy.
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
        """Run the setup, and the teardown however the service ends."""
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
                # Without an exception, so that a lifespan without ``finally`` tears down.
                await context.__aexit__(None, None, None)
            except Exception as error:
                log_error(error, "The teardown failed.")
                raise


def request_code_objects() -> list[CodeType]:
    """Return the code objects that run requests; each has a local variable ``request_id``."""
    # Imported here, as it imports FastAPI, and probes are answered before that.
    from fal_serve.answering.event_streams import EventStream

    return [
        each.__code__
        for each in (RequestMiddleware.__call__, EventStream.pump, RequestBatcher.call)
    ]


@contextlib.asynccontextmanager
async def threads_for(count: int | None) -> AsyncIterator[None]:
    """Let at least *count* plain handlers run at once, each on a thread."""
    threads = current_pool()
    threads.limit = max(threads.limit, count or 0)
    # FastAPI runs dependencies on the threads of this limiter.
    limiter = to_thread.current_default_thread_limiter()
    limiter.total_tokens = max(limiter.total_tokens, count or 0)
    try:
        yield
    finally:
        await threads.close()


def http_protocol(settings: ServiceSettings) -> Any:
    """Return the factory of HTTP protocols: ours, if httptools is installed."""
    try:
        from fal_serve.serving.http_protocols import ServiceProtocol
    except ImportError:
        return "auto"
    return functools.partial(ServiceProtocol, head_timeout=settings.head_timeout)
