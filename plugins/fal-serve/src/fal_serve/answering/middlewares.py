"""The middleware around the application, which does what every request needs."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable
from random import Random
from typing import Any
from uuid import UUID

from starlette.requests import ClientDisconnect
from starlette.websockets import WebSocketDisconnect

from fal_core_worker.serving import services
from fal_serve.answering.exchanges import Exchange, HTTPExchange, WebsocketExchange
from fal_serve.answering.logs import (
    Aborted,
    AccessLog,
    describe_unexpected,
    log_error,
    unwrap_error,
)
from fal_serve.answering.metrics import UNMATCHED, RouteLabels, ServiceMetrics
from fal_serve.answering.requests import REQUEST_ID, IncomingRequest, current
from fal_serve.answering.threads import left_behind
from fal_serve.answering.tracing import TracedApplication, find_request_tracer, trace_id
from fal_serve.answering.turns import RequestTurns
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.exceptions import find_gpu_error
from fal_serve.policies.uploads import HEADER, UploadPolicyInputError

UPLOAD_POLICY = HEADER.encode()
#: The longest request id that is taken from a client; a longer one is replaced.
_LONGEST_ID = 256
#: Uvicorn's variable for the addresses of proxies, with commas between.
_PROXIES = "FORWARDED_ALLOW_IPS"
#: Raised in a handler whose client has disconnected.
_GONE = (ClientDisconnect, WebSocketDisconnect)
#: Makes request ids. uuid4 reads the system's randomness, which lets go of the
#: interpreter's lock: a request to a plain handler then takes a seventh longer.
_random = Random()


def readable_id(raw: bytes) -> str | None:
    """Return the request id that the client sent, or None if it cannot be sent back."""
    if not raw or len(raw) > _LONGEST_ID:
        return None
    text = raw.decode("latin-1")
    return text if text.isprintable() else None


async def refuses_policy(exchange: Exchange, request: IncomingRequest) -> bool:
    """
    Answer a request whose upload policy cannot be followed, and tell whether it was one: its
    files would be put elsewhere than where its client has asked for.
    """
    if not isinstance(exchange, HTTPExchange):
        await exchange.answer(422, f"A websocket takes no header {HEADER}.")
        return True
    try:
        request.upload_policy  # noqa: B018  # it is kept
    except UploadPolicyInputError as error:
        await exchange.answer(422, str(error), x_fal_billable_units="0")
        return True
    return False


class RequestMiddleware:
    """
    An ASGI application around another: request ids, limits, metrics and the access log.

    Arguments:
        counted: The paths that ``max_multiplexing`` applies to. Health checks, probes and
            documents are answered however busy the service is.

        labels: The routes that metrics distinguish.

        hints: Returns the hints that go with each response, or None.

        unlogged: Paths that the access log leaves out.
    """

    def __init__(
        self,
        application: Any,
        settings: ServiceSettings,
        metrics: ServiceMetrics,
        *,
        counted: Iterable[str],
        labels: Iterable[str],
        hints: Callable[[], list[str] | None],
        unlogged: Iterable[str] = (),
    ) -> None:
        self._application = application
        self._settings = settings
        self._metrics = metrics
        self._label = RouteLabels(labels)
        self._access_log = AccessLog() if settings.access_log else None
        self._unlogged = frozenset(unlogged)
        self._timeout = settings.request_timeout
        self._hints = hints
        self._counted = RouteLabels(counted)
        self._turns: RequestTurns | None = None
        if settings.max_multiplexing:
            self._turns = RequestTurns(settings.max_multiplexing)
            metrics.waiting = self._turns.waiting
        self._proxied: Any = None

    def trace(self) -> None:
        """Make a span of each request from now on, if this process has a tracer."""
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
            request_id = str(UUID(int=_random.getrandbits(128), version=4))
            raw_id = request_id.encode()
        # Each request has a task and thus a context of its own: nothing is reset.
        services.request_id.set(request_id)
        request = IncomingRequest(request_id, scope["headers"])
        current.set(request)
        began = time.perf_counter()
        exchange: Exchange
        if scope["type"] == "http":
            exchange = HTTPExchange(receive, send, raw_id, request, self._hints)
            method = scope["method"]
        else:
            exchange = WebsocketExchange(receive, send, raw_id)
            method = "WEBSOCKET"
            # Servers of websockets leave names as they were sent.
            headers = {name.lower(): value for name, value in headers.items()}
        try:
            if UPLOAD_POLICY not in headers or not await refuses_policy(exchange, request):
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

    async def _answer(self, exchange: Exchange, scope: Any, receive: Any, headers: Any) -> None:
        """Have the application answer within the limits."""
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
            if isinstance(exchange, HTTPExchange):
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

    async def _failed(self, exchange: Exchange, error: BaseException) -> None:
        """Send a response in place of an application that raised *error*, and log it."""
        error = unwrap_error(error)
        reason = ""
        if isinstance(error, _GONE):
            # The handler was told that its client has disconnected.
            return
        if exchange.silent or exchange.disconnected or exchange.answering is not None:
            if not isinstance(error, asyncio.CancelledError):
                log_error(error, "The handler failed after its request had ended.")
        elif isinstance(error, asyncio.CancelledError):
            if not exchange.started:
                await exchange.answer(503, "The service is shutting down.")
        elif not isinstance(error, Aborted):
            log_error(error, "The handler failed.")
            gpu = find_gpu_error(error)
            reason = describe_unexpected() if gpu is None else gpu.message
            if not exchange.started:
                await exchange.answer(500 if gpu is None else gpu.status_code, reason)
        if exchange.started and not exchange.ended and not await exchange.close(reason):
            # The server closes the connection, which tells the client that the response
            # is incomplete.
            raise Aborted from None

    def _through_proxy(self) -> Any:
        """Return the application wrapped to trust the proxy's headers about the client."""
        if self._proxied is None:
            from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

            trusted = os.environ.get(_PROXIES, "127.0.0.1")
            self._proxied = ProxyHeadersMiddleware(self._application, trusted)
        return self._proxied
