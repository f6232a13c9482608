"""Fixtures of the tests of fal_serve."""

from __future__ import annotations

import json
import queue
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest

from fal_core import function
from fal_core.plugins import find_host
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, BaseServable, endpoint
from fal_serve.declaring.settings import ServiceSettings
from fal_serve.servables import ServeWrapper
from fal_serve.serving.servable_servers import ServableServer

#: Seconds that anything may take; most takes a fraction of one.
PATIENCE = 60


class Base(App, kind="current", keep_alive=10, max_multiplexing=2):
    """An application with options."""

    request_timeout = 5

    @endpoint("/base")
    def base(self) -> str:
        return "base"


class Mixin:
    """Options for applications."""

    startup_timeout = 7
    machine_type = "M"


class Derived(Mixin, Base, request_timeout=9, min_concurrency=1):
    """An application that inherits, replaces and removes options."""

    keep_alive = None

    @endpoint("/")
    def own(self) -> str:
        return "own"


class Served:
    """A running service, with a client of it."""

    def __init__(self, info: Any) -> None:
        self.info = info
        self.url: str = info.url
        self.client = httpx.Client(base_url=self.url, timeout=PATIENCE)
        self.lines: list[Any] = []

    def post(self, path: str, json: Any = None, **options: Any) -> httpx.Response:
        """Send a POST request with *json* to *path*."""
        return self.client.post(path, json=json, **options)

    def find_line(self, text: str) -> Any:
        """Return the first line of the log that contains *text*, waiting for it."""
        for line in self.lines:
            if text in line.message:
                return line
        while True:
            line = self.info.logs.get(timeout=PATIENCE)
            self.lines.append(line)
            if text in line.message:
                return line

    def wait_for_end(self, name: str) -> None:
        """Wait until the handler *name* of the application reports that it has cleaned up."""
        while name not in self.post("/ended").json():
            pass

    def end(self) -> None:
        """End the service, unless it has been drained, and wait for its end."""
        self.client.close()
        drained = self.info.future.done()
        self.info.cancel()
        assert drained or self.info.future.exception(PATIENCE) is not None


@pytest.fixture
def base() -> type[App]:
    """An application with options."""
    return Base


@pytest.fixture
def derived() -> type[App]:
    """An application that inherits, replaces and removes options of ``base``."""
    return Derived


class Routed(BaseServable):
    """A service of one route."""

    def __init__(self, route: RouteSignature, handler: Callable[..., Any]) -> None:
        self._routes = {route: handler}

    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        return self._routes


@pytest.fixture
def build_route() -> Callable[[RouteSignature, Callable[..., Any]], Any]:
    """Build the application of a service of one route."""
    return lambda route, handler: Routed(route, handler).build_application()


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Any], Served]]:
    """Spawn an application or served function, and end it with the module."""
    served: list[Served] = []

    def start(what: Any) -> Served:
        info = what.spawn()
        try:
            served.append(Served(info))
        except BaseException:
            info.cancel()
            raise
        return served[-1]

    yield start
    for each in served:
        each.end()


@pytest.fixture(scope="session", autouse=True)
def close_local_host() -> Iterator[None]:
    """Leave no workers behind."""
    yield
    find_host("local").close()


@pytest.fixture
def serve_with() -> Iterator[Callable[..., Any]]:
    """Spawn a service of a function with a servable and settings of the test's own."""
    spawned: list[Any] = []

    def start(
        func: Any, make: Any = ServeWrapper, *, kind: str = "current", **settings: Any
    ) -> Any:
        startup = settings.get("startup_timeout")
        options: dict[str, Any] = {} if startup is None else {"startup_timeout": startup}
        server = ServableServer(func, make, ServiceSettings(**settings))
        info = function(kind, serve=True, **options)(server).spawn()
        spawned.append(info)
        return info

    yield start
    for info in spawned:
        info.cancel()
    for info in spawned:
        info.future.exception(PATIENCE)


@pytest.fixture
def wait_for_line() -> Callable[..., dict[str, Any]]:
    """Wait for a line of JSON in the log that contains *facts*, and return it."""

    def wait(info: Any, **facts: Any) -> dict[str, Any]:
        seen = []
        while True:
            try:
                message = info.logs.get(timeout=PATIENCE).message
            except queue.Empty:
                raise AssertionError(f"No line says {facts}, but these: {seen}") from None
            seen.append(message)
            try:
                line = json.loads(message)
            except ValueError:
                continue
            if isinstance(line, dict) and facts.items() <= line.items():
                return line

    return wait
