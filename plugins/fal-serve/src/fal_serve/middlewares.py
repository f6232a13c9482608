"""
The one middleware: what is the same for every request, around the application.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from fal_core_worker.serving import services
from fal_serve.exchanges import Connection, Exchange, Session
from fal_serve.logs import Aborted, AccessLog, log_error
from fal_serve.metrics import UNMATCHED, Labels, Metrics
from fal_serve.requests import REQUEST_ID, IncomingRequest, current
from fal_serve.servables import BaseServable
from fal_serve.settings import Settings
from fal_serve.threads import left_behind
from fal_serve.tracing import TracedApplication, find_request_tracer, trace_id
from fal_serve.turns import Turns

#: What a caller's id may have; a longer one is replaced.
_LONGEST_ID = 256
#: What a handler meets when its client has gone away.
_GONE = (ClientDisconnect, WebSocketDisconnect)
_random = random.Random()


def new_request_id() -> str:
    """
    Return an id that looks like a UUID, at a fraction of its price.
    """
    text = f"{_random.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"


def readable_id(raw: bytes) -> str | None:
    """
    Return the id that the caller sent, or None where it cannot be sent back.
    """
    if not raw or len(raw) > _LONGEST_ID:
        return None
    text = raw.decode("latin-1")
    return text if text.isprintable() else None


class Operations:
    """
    An ASGI application around another: ids, limits, metrics and the access log.

    Arguments:
        counted: The paths that ``max_multiplexing`` holds for. Health, probes and
            documents are answered however busy the service is.

        labels: The routes that metrics tell apart.

        unlogged: Paths that the access log leaves out.
    """

    def __init__(
        self,
        application: Any,
        servable: BaseServable,
        settings: Settings,
        metrics: Metrics,
        *,
        counted: Iterable[str],
        labels: Iterable[str],
        unlogged: Iterable[str] = (),
    ) -> None:
        self._application = application
        self._settings = settings
        self._metrics = metrics
        self._label = Labels(labels)
        self._access_log = AccessLog() if settings.access_log else None
        self._unlogged = frozenset(unlogged)
        self._timeout = settings.request_timeout
        gives_hints = type(servable).hints is not BaseServable.hints
        self._hints = servable.hints if gives_hints else None
        self._counted = Labels(counted)
        self._turns: Turns | None = None
        if settings.max_multiplexing:
            self._turns = Turns(settings.max_multiplexing)
            metrics.waiting = self._turns.waiting
        self._proxied: Any = None

    def trace(self) -> None:
        """
        Make a span of each request from now on, if this process has a tracer.
        """
        tracer = find_request_tracer()
        if tracer is not None:
            self._application = TracedApplication(self._application, tracer, self._label)

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "lifespan":
            await self._application(scope, receive, send)
            return
        headers = dict(scope["headers"])
        raw_id = headers.get(REQUEST_ID, b"")
        request_id = readable_id(raw_id)
        if request_id is None:
            request_id = new_request_id()
            raw_id = request_id.encode()
        # A request has a task of its own, and with it a context: nothing is undone.
        services.request_id.set(request_id)
        request = IncomingRequest(request_id, scope["headers"])
        current.set(request)
        began = time.perf_counter()
        exchange: Connection
        if scope["type"] == "http":
            exchange = Exchange(receive, send, raw_id, request, self._hints)
            method = scope["method"]
        else:
            exchange = Session(receive, send, raw_id)
            method = "WEBSOCKET"
        try:
            await self._answer(exchange, scope, receive, headers)
        finally:
            services.end_request()
            seconds = time.perf_counter() - began
            path = scope["path"]
            status = exchange.final_status()
            self._metrics.count(self._label(path), method, status, seconds)
            if self._access_log is not None and path not in self._unlogged:
                self._access_log.write(
                    request_id,
                    method,
                    path,
                    status,
                    seconds,
                    exchange.size,
                    scope.get("client"),
                    headers.get(b"x-fal-endpoint"),
                    trace_id(headers.get(b"traceparent")),
                )

    async def _answer(
        self, exchange: Connection, scope: Any, receive: Any, headers: Any
    ) -> None:
        """
        Have the application answer, within the limits that there are.
        """
        turns = self._turns
        if turns is not None and self._counted(scope["path"]) != UNMATCHED:
            if not turns.take():
                came = await turns.wait(receive)
                if came is None:
                    exchange.disconnected = True
                    return
                exchange.resume(came)
        else:
            turns = None
        timer = None
        left: list[asyncio.Future[None]] = []
        if turns is not None:
            left_behind.set(left)
        self._metrics.running += 1
        try:
            if isinstance(exchange, Exchange):
                if exchange.limit(headers.get(b"content-length"), self._settings.max_body_size):
                    await exchange.refuse()
                    return
                if self._timeout:
                    loop, task = asyncio.get_running_loop(), asyncio.current_task()
                    assert task is not None
                    timer = loop.call_later(self._timeout, exchange.expire, task, self._timeout)
            application = self._application
            if b"x-forwarded-for" in headers or b"x-forwarded-proto" in headers:
                application = self._through_proxy()
            await application(scope, exchange.receive, exchange.send)
        except BaseException as error:
            await self._failed(exchange, error)
        finally:
            self._metrics.running -= 1
            if timer is not None:
                timer.cancel()
            if turns is not None:
                turns.give_back_after(left)
        if exchange.answering is not None:
            await exchange.answering

    async def _failed(self, exchange: Connection, error: BaseException) -> None:
        """
        Answer for an application that has not, and log what it raised.
        """
        if isinstance(error, _GONE):
            # The handler has met the end of the connection.
            return
        if exchange.silent or exchange.disconnected or exchange.answering is not None:
            if not isinstance(error, asyncio.CancelledError):
                log_error(error, "The handler failed after its request had ended.")
        elif isinstance(error, asyncio.CancelledError):
            if not exchange.started:
                await exchange.answer(503, "The service is ending.")
        elif not isinstance(error, Aborted):
            log_error(error, "The handler failed.")
            if not exchange.started:
                await exchange.answer(500, "Internal Server Error")
        if exchange.started and not exchange.ended and not await exchange.close():
            # The server closes the connection: the client sees that this is not all.
            raise Aborted from None

    def _through_proxy(self) -> Any:
        """
        Return the application behind what a trusted proxy tells of the client.
        """
        if self._proxied is None:
            from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

            self._proxied = ProxyHeadersMiddleware(self._application)
        return self._proxied
