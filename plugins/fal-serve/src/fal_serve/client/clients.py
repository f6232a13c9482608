"""Clients of applications: a method for each endpoint, with its own types."""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Iterator
from typing import TYPE_CHECKING, Any, ClassVar, Generic, TypeVar
from urllib.parse import urlencode

import httpx

from fal_serve.client.credentials import credentials
from fal_serve.client.endpoint_calls import (
    EndpointCall,
    EventReader,
    endpoint_calls,
    http_errors,
    raise_for_status,
)
from fal_serve.client.inner_applications import launched
from fal_serve.client.realtime_connections import AsyncRealtimeConnection, RealtimeConnection
from fal_serve.client.websocket_connections import AsyncWebsocketConnection, WebsocketConnection
from fal_serve.declaring.paths import fill_path
from fal_serve.exceptions import AppClientError
from fal_serve.servables import BaseServable

if TYPE_CHECKING:
    from fal_core_worker.serving.routes import RouteSignature
    from fal_serve.apps import App


AppT = TypeVar("AppT", bound="App")
ServedT = TypeVar("ServedT", bound="App")


class _Client(ABC, Generic[AppT]):
    """The part that both clients have in common: a method for each endpoint."""

    _http: ClassVar[type[httpx.Client] | type[httpx.AsyncClient]]
    _realtime: ClassVar[type[RealtimeConnection] | type[AsyncRealtimeConnection]]
    _websocket: ClassVar[type[WebsocketConnection] | type[AsyncWebsocketConnection]]
    _client: httpx.Client | httpx.AsyncClient

    def __init__(
        self,
        cls: type[AppT],
        url: str,
        timeout: float | None = None,
        *,
        headers: dict[str, str] | None = None,
    ) -> None:
        if not (isinstance(cls, type) and issubclass(cls, BaseServable)):
            raise TypeError(
                f"{type(self).__name__} is for a class of application, a subclass of App, "
                f"and was given {cls!r}."
            )
        if not url.startswith(("http://", "https://")):
            rest = "…" if "://" in url or not url else url
            raise ValueError(f"{url!r} is no URL. Write http://{rest} or https://{rest}")
        self.cls = cls
        self.url = url.rstrip("/")
        self.headers = credentials(url) if headers is None else headers
        self._calls, self._sockets = endpoint_calls(cls)
        self._client = self._http(base_url=self.url, headers=self.headers, timeout=timeout)

    if not TYPE_CHECKING:
        # Type checkers are shown the endpoints of the class.

        def __getattr__(self, name: str) -> Callable[..., Any]:
            if name.startswith("_"):
                raise AttributeError(name)
            try:
                return self[name]
            except KeyError as error:
                raise AttributeError(error.args[0]) from None

    def __getitem__(self, name: str) -> Callable[..., Any]:
        if name in self._calls:
            return self._method(self._calls[name])
        if name in self._sockets:
            return self._dialler(self._sockets[name])
        known = ", ".join(sorted((*self._calls, *self._sockets)))
        raise KeyError(f"{self.cls.__name__} has no endpoint {name!r}. It has: {known}.")

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *self._calls, *self._sockets]

    def _method(self, call: EndpointCall) -> Callable[..., Any]:
        def ask(*args: Any, **kwargs: Any) -> Any:
            __tracebackhide__ = True
            request = call.request(args, kwargs)
            try:
                return self._stream(call, request) if call.streams else self._ask(call, request)
            except AppClientError as error:
                # It says what was answered; where that was read is of no use.
                raise error.with_traceback(None)  # noqa: B904  # the same one

        ask.__name__ = ask.__qualname__ = call.name
        # Read by inspect, though the type of functions does not declare it.
        ask.__signature__ = call.signature  # type: ignore[attr-defined]
        return ask

    def _dialler(self, signature: RouteSignature) -> Callable[..., Any]:
        base = f"ws{self.url.removeprefix('http')}"
        if signature.realtime_mode is not None:
            return lambda: self._realtime(base + signature.path, signature, self.headers)

        def dial(**parameters: Any) -> Any:
            given = {name: value for name, value in parameters.items() if value is not None}
            query = {name: str(value) for name, value in given.items()}
            path = fill_path(signature.path, query)
            url = f"{base}{path}?{urlencode(query)}" if query else base + path
            return self._websocket(url, self.headers)

        return dial

    @abstractmethod
    def _ask(self, call: EndpointCall, request: dict[str, Any]) -> Any:
        """Return the output, or a coroutine that does."""

    @abstractmethod
    def _stream(self, call: EndpointCall, request: dict[str, Any]) -> Any:
        """Return an iterator over the items of the response, sync or async like the client."""


class AppClient(_Client[AppT]):
    """
    A client of an application, with a method for each endpoint.

    A method takes the handler's arguments and returns its output; for a generator it
    iterates over the items. The method of a realtime endpoint returns a session, and that of
    a websocket endpoint the websocket. Names of the client's own attributes are not endpoint
    methods: ``client["close"]`` is the method of an endpoint with such a name.

    Arguments:
        cls: The application, whose handlers define the methods.

        timeout: Seconds that a request may take. None waits for ever.

        headers: The headers of each request. By default, the key in ``FAL_KEY`` is sent
            over encrypted connections, and to this machine.
    """

    _http = httpx.Client
    _realtime = RealtimeConnection
    _websocket = WebsocketConnection
    _client: httpx.Client

    @property
    def endpoints(self) -> AppT:
        """This client itself, which type checkers take for an object of the class."""
        client: Any = self
        endpoints: AppT = client
        return endpoints

    @classmethod
    @contextlib.contextmanager
    def connect(
        cls,
        app_cls: type[ServedT],
        url: str | None = None,
        *,
        timeout: float | None = None,
        health_request_timeout: float = 30,
        startup_timeout: float = 60,
        health_check_interval: float = 0.5,
    ) -> Iterator[ServedT]:
        """
        Spawn an application, return a client of it, and end it when the context ends.

        In a worker, the program that launched the worker spawns it, on the same host, and
        ends it with the call at the latest. In a runner of a server it is the deployed
        application of that name, of the same account and stage, which is not ended.

        The lines that the application prints are printed by the program that spawned it,
        without its access log. Type checkers take the client for an object of the class.

        Arguments:
            url: Of an application that is running. None is spawned then, and none ended.
        """
        if url is not None:
            with cls._at(app_cls, url, timeout) as client:
                yield client
            return
        with launched(app_cls) as wait:
            found = wait(
                health_request_timeout=health_request_timeout,
                startup_timeout=startup_timeout,
                health_check_interval=health_check_interval,
            )
            with cls._at(app_cls, found, timeout) as client:
                yield client

    @classmethod
    def _at(cls, app_cls: type[ServedT], url: str, timeout: float | None) -> AppClient[ServedT]:
        make: Any = cls
        client: AppClient[ServedT] = make(app_cls, url, timeout)
        return client

    def health(self) -> Any:
        """Return the body of the application's health endpoint."""
        with http_errors(self.url):
            response = self._client.get("/health")
        raise_for_status(response)
        return response.json()

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def __enter__(self) -> AppT:
        return self.endpoints

    def __exit__(self, *_: object) -> None:
        self.close()

    def _ask(self, call: EndpointCall, request: dict[str, Any]) -> Any:
        with http_errors(self.url + call.path):
            response = self._client.request(**request)
        return call.read(response)

    def _stream(self, call: EndpointCall, request: dict[str, Any]) -> Iterator[Any]:
        with http_errors(self.url + call.path), self._client.stream(**request) as response:
            if not response.is_success:
                response.read()
            raise_for_status(response)
            reader = EventReader(call)
            for line in response.iter_lines():
                yield from reader.read(line)


class AsyncAppClient(_Client[AppT]):
    """
    A client of an application for async code.

    Its methods are coroutine functions, or return async iterators if the endpoint is a
    generator. It is made as an :class:`AppClient` is.
    """

    _http = httpx.AsyncClient
    _realtime = AsyncRealtimeConnection
    _websocket = AsyncWebsocketConnection
    _client: httpx.AsyncClient

    @property
    def endpoints(self) -> type[AppT]:
        """This client itself, which type checkers take for the class: its methods are awaited."""
        client: Any = self
        endpoints: type[AppT] = client
        return endpoints

    @classmethod
    @contextlib.asynccontextmanager
    async def connect(
        cls,
        app_cls: type[ServedT],
        url: str | None = None,
        *,
        timeout: float | None = None,
        startup_timeout: float = 60,
    ) -> AsyncIterator[type[ServedT]]:
        """
        Spawn an application, return a client of it, and end it when the context ends, as
        :meth:`AppClient.connect` does.

        Type checkers take the client for the class, whose methods are awaited.

        Arguments:
            url: Of an application that is running. None is spawned then, and none ended.
        """
        if url is not None:
            async with cls._at(app_cls, url, timeout) as client:
                yield client
            return
        import asyncio

        with contextlib.ExitStack() as stack:
            wait = stack.enter_context(launched(app_cls))
            found = await asyncio.to_thread(wait, startup_timeout=startup_timeout)
            try:
                async with cls._at(app_cls, found, timeout) as client:
                    yield client
            finally:
                # The application takes a moment to end.
                await asyncio.to_thread(stack.close)

    @classmethod
    def _at(
        cls, app_cls: type[ServedT], url: str, timeout: float | None
    ) -> AsyncAppClient[ServedT]:
        make: Any = cls
        client: AsyncAppClient[ServedT] = make(app_cls, url, timeout)
        return client

    async def health(self) -> Any:
        """Return the body of the application's health endpoint."""
        with http_errors(self.url):
            response = await self._client.get("/health")
        raise_for_status(response)
        return response.json()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def __aenter__(self) -> type[AppT]:
        return self.endpoints

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _ask(self, call: EndpointCall, request: dict[str, Any]) -> Any:
        __tracebackhide__ = True
        try:
            with http_errors(self.url + call.path):
                response = await self._client.request(**request)
            return call.read(response)
        except AppClientError as error:
            raise error.with_traceback(None)  # noqa: B904  # the same one

    async def _stream(self, call: EndpointCall, request: dict[str, Any]) -> AsyncIterator[Any]:
        with http_errors(self.url + call.path):
            async with self._client.stream(**request) as response:
                if not response.is_success:
                    await response.aread()
                raise_for_status(response)
                reader = EventReader(call)
                async for line in response.aiter_lines():
                    for item in reader.read(line):
                        yield item
