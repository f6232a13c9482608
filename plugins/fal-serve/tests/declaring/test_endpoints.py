"""Endpoints: the routes of classes, and mistakes in them."""

from __future__ import annotations

from typing import Any

import pytest
from fastapi import WebSocket

from fal_core import OptionError
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import App, HealthCheck, endpoint, realtime


def nothing(self: Any) -> None: ...


def batch_and_more(self: Any, *inputs: int, seed: int = 0) -> list[int]: ...


def yielding_batch(self: Any, *inputs: int):
    yield 1


async def socket(self: Any, websocket: WebSocket) -> None: ...


async def no_socket(self: Any, connection: str) -> None: ...


def plain_socket(self: Any, websocket: WebSocket) -> None: ...


def copy(function: Any) -> Any:
    return type(function)(function.__code__, globals(), function.__name__)


def annotated(function: Any) -> Any:
    made = copy(function)
    made.__annotations__ = function.__annotations__
    return made


@pytest.mark.parametrize(
    ("handlers", "sentence"),
    [
        ([(nothing, "/a", {}), (nothing, "/a", {})], "are both the endpoint at '/a'"),
        (
            [(nothing, "/a/{x}", {}), (nothing, "/a/{y}", {})],
            "are both the endpoint at '/a/{x}', which is '/a/{y}'",
        ),
        (
            [(nothing, "/{x:int}", {}), (nothing, "/{y:int}", {})],
            "are both the endpoint at '/{x:int}', which is '/{y:int}'",
        ),
        (
            [
                (nothing, "/a", {"health_check": HealthCheck()}),
                (nothing, "/b", {"health_check": HealthCheck()}),
            ],
            "are all health checks, and there can be one",
        ),
        (
            [(socket, "/a", {"is_websocket": True, "health_check": HealthCheck()})],
            "is a websocket, and cannot be the health check",
        ),
        ([(nothing, "/a", {"health_check": True})], "must be a HealthCheck"),
        (
            [(no_socket, "/a", {"is_websocket": True})],
            "must have a parameter annotated with 'WebSocket': 'async def",
        ),
        ([(plain_socket, "/a", {"is_websocket": True})], "must be 'async def': 'async def"),
        (
            [(nothing, "/a", {"is_websocket": True})],
            "must be 'async def' and have a parameter annotated with 'WebSocket'",
        ),
        ([(nothing, "/a", {"max_batch_size": 2})], "and takes no batches"),
        (
            [(socket, "/a", {"is_websocket": True, "max_batch_size": 2})],
            "must have no max_batch_size",
        ),
        ([(batch_and_more, "/a", {})], r"cannot have other parameters \(seed\)"),
        ([(yielding_batch, "/a", {})], "takes batches, and cannot yield"),
    ],
)
def test_handlers_that_cannot_be_served_are_refused(handlers: list[Any], sentence: str):
    """Mistakes in the endpoints of a class are errors where it is defined."""
    space = {
        f"handler{index}": endpoint(path, **options)(annotated(function))
        for index, (function, path, options) in enumerate(handlers)
    }
    with pytest.raises(OptionError, match=f"Class 'Wrong': .*{sentence}"):
        type("Wrong", (App,), space)


@pytest.mark.parametrize(
    ("path", "options", "sentence"),
    [
        ("predict", {}, "must begin with '/'"),
        (None, {}, "must begin with '/'"),
        ("/a", {"max_batch_size": 0}, "max_batch_size .* at least 1, not 0"),
        ("/a", {"max_batch_size": True}, "max_batch_size .* not True"),
        ("/a", {"batch_wait": -1}, "batch_wait .* at least 0, not -1"),
    ],
)
def test_endpoint_that_cannot_be_is_refused(path: Any, options: Any, sentence: str):
    """The decorator refuses invalid arguments, and names them."""
    with pytest.raises(OptionError, match=sentence):
        endpoint(path, **options)(copy(nothing))


def test_function_has_one_route():
    """A second decorator is refused, with both paths in the error."""
    with pytest.raises(OptionError, match=r"'/a' already, and cannot answer at '/b'"):
        endpoint("/b")(endpoint("/a")(copy(nothing)))


def test_endpoint_and_websocket_may_share_a_path():
    """A path may have one HTTP endpoint and one websocket."""

    class Both(App):
        post = endpoint("/a")(copy(nothing))
        connect = endpoint("/a", is_websocket=True)(annotated(socket))

    assert Both.get_endpoints() == ["/a", "/a"]


@pytest.mark.parametrize("decorator", [endpoint, realtime])
def test_decorators_are_called(decorator: Any):
    """A decorator without a path says how it is written."""
    with pytest.raises(OptionError, match=r"Write @(endpoint|realtime)\('/nothing'\)"):
        decorator(nothing)


def no_parameter(): ...


def only_input(prompt: str): ...


def only_inputs(*prompts: str): ...


@pytest.mark.parametrize("function", [no_parameter, only_input, only_inputs])
def test_endpoints_are_methods(function: Any):
    """A handler must take self, unless it is a static method."""
    with pytest.raises(OptionError, match=r"Write 'def handler\(self, …\)'"):
        type("Wrong", (App,), {"handler": endpoint("/")(annotated(function))})

    type("Right", (App,), {"handler": staticmethod(endpoint("/")(annotated(function)))})


def test_realtime_endpoints_are_methods():
    """So must realtime handlers."""
    with pytest.raises(OptionError, match=r"Write 'def talk\(self, …\)'"):

        class Wrong(App):
            @realtime("/")
            def talk(prompt: str) -> str:
                return prompt


def test_routes_are_those_of_all_bases_in_the_order_of_their_paths():
    """Endpoints are inherited, and may be overridden."""

    class First(App, kind="current"):
        @endpoint("/base")
        def base(self) -> str:
            return "base"

    class Second(First):
        @endpoint("/")
        def own(self) -> str:
            return "own"

    class Last(Second):
        @endpoint("/base", max_batch_size=1)
        def base(self) -> str:
            return "overridden"

    routes = Last().collect_routes()
    assert list(routes) == [RouteSignature("/"), RouteSignature("/base")]
    assert routes[RouteSignature("/base")]() == "overridden"
