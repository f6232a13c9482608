"""Servables with handwritten routes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, ClassVar

import httpx
import msgpack
import pytest
from fastapi import Response, WebSocket
from pydantic import BaseModel
from websockets.sync.client import connect

from fal_core import OptionError, function
from fal_core_worker.serving.routes import RouteSignature
from fal_serve import BaseServable, HealthCheck, endpoint


class In(BaseModel):
    x: int


class Written(BaseServable):
    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        websocket: dict[str, Any] = {"is_websocket": True}
        return {
            RouteSignature(
                "/unary", realtime_mode="unary", input_modal=In, emit_timings=True, **websocket
            ): self.unary,
            RouteSignature(
                "/json", realtime_mode="unary", content_type="application/json", **websocket
            ): self.unary_json,
            RouteSignature("/bidi", realtime_mode="bidi", **websocket): self.bidi,
            RouteSignature(
                "/batch", realtime_mode="unary", max_batch_size=2, **websocket
            ): self.batch,
            RouteSignature("/raw", **websocket): self.raw,
            RouteSignature("/csv", content_type="text/csv"): self.csv,
            RouteSignature("/png", content_type="image/png"): self.png,
            RouteSignature("/problem", content_type="application/problem+json"): self.problem,
            RouteSignature(
                "/together", content_type="text/plain", max_batch_size=2
            ): self.texts,
        }

    def unary(self, message: In) -> int:
        return message.x + 1

    def unary_json(self, message: Any) -> Any:
        return message

    async def bidi(self, messages: AsyncIterator[int]) -> AsyncIterator[int]:
        async for each in messages:
            yield each
            yield -each

    def batch(self, *messages: int) -> list[int]:
        return [each * 2 for each in messages]

    async def raw(self, websocket: WebSocket) -> None:
        await websocket.accept()
        await websocket.send_text("raw")

    def csv(self, rows: list[int], response: Response) -> str:
        response.headers["x-rows"] = str(len(rows))
        return "\n".join(map(str, rows))

    async def png(self) -> bytes:
        return b"\x89PNG\xff"

    def problem(self) -> dict[str, str]:
        return {"title": "none"}

    def texts(self, *texts: str) -> list[str]:
        return [each.upper() for each in texts]


@pytest.fixture(scope="module")
def written(request: pytest.FixtureRequest) -> Iterator[Any]:
    serving = function("current", serve=True)(Written)
    info = serving.spawn()
    yield info
    info.cancel()
    info.future.exception(30)


def ask(service: Any, path: str, *messages: Any) -> list[Any]:
    """Send *messages*, and return as many outputs as the handler gives for them."""
    count = {"/bidi": 2, "/unary": 2, "/raw": 1}.get(path, len(messages))
    with connect(f"ws{service.url[4:]}{path}") as socket:
        for each in messages:
            socket.send(each)
        return [socket.recv(60) for _ in range(count)]


def test_handler_of_a_realtime_route_is_given_messages(written):
    """A plain function is used as the mode of its route defines."""
    answer, timing = ask(written, "/unary", msgpack.packb({"x": 1}))
    assert answer == msgpack.packb(2)
    assert '"timings"' in timing
    assert ask(written, "/bidi", b"\x05") == [b"\x05", msgpack.packb(-5)]
    assert ask(written, "/batch", b"\x05", b"\x06") == [b"\x0a", b"\x0c"]
    assert ask(written, "/json", '{"a":1}') == [b'{"a":1}']


def test_handler_of_another_websocket_has_the_connection(written):
    """A route without a mode is a plain websocket."""
    assert ask(written, "/raw") == ["raw"]


def test_answer_has_the_content_type_of_its_route(written):
    """Text and bytes are sent as they are, with the headers of the handler."""
    with httpx.Client(base_url=written.url) as client:
        answer = client.post("/csv", json=[1, 2])
        assert (answer.text, answer.headers["x-rows"]) == ("1\n2", "2")
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        answer = client.post("/png")
        assert answer.content == b"\x89PNG\xff"
        assert answer.headers["content-type"] == "image/png"
        answer = client.post("/problem")
        assert answer.json() == {"title": "none"}
        assert answer.headers["content-type"] == "application/problem+json"
        headers = {"content-type": "application/json"}
        answer = client.post("/together", content=b'"a\\ud83d"', headers=headers)
        assert answer.text == "A\\ud83d"
        paths = client.get("/openapi.json").json()["paths"]
    content = paths["/csv"]["post"]["responses"]["200"]["content"]
    assert content == {"text/csv": {"schema": {"type": "string"}}}


def test_served_function_may_take_batches():
    """A served function with *inputs may set its batch size and path."""

    @function("current", serve=True)
    @endpoint("/sizes", max_batch_size=8, batch_wait=0.5)
    def sizes(*texts: str) -> list[int]:
        return [len(texts)] * len(texts)

    service = sizes.spawn()
    try:
        with httpx.Client(base_url=service.url) as client, ThreadPoolExecutor(8) as pool:
            asked = [pool.submit(client.post, "/sizes", json="a") for _ in range(8)]
            assert max(each.result().json() for each in asked) > 1
    finally:
        service.cancel()
        service.future.exception(30)


def test_served_function_that_takes_no_batches_says_so():
    """It is refused before anything is started."""

    @function("current", serve=True)
    @endpoint("/", max_batch_size=8)
    def size(text: str) -> int:
        return len(text)

    with pytest.raises(OptionError, match=r"'def size\(\*inputs\)'"):
        size.spawn()


class Plain(BaseServable):
    """A servable whose routes are given to a test."""

    routes: ClassVar[dict[Any, Any]] = {}

    def collect_routes(self) -> dict[RouteSignature, Callable[..., Any]]:
        return self.routes

    def one(self, text: str) -> str:
        return text

    def many(self, *texts: str) -> list[str]:
        return list(texts)

    def many_of(self, prefix: str, *texts: str) -> list[str]:
        return [prefix + each for each in texts]

    async def items(self, messages: AsyncIterator[int]) -> AsyncIterator[int]:
        async for each in messages:
            yield each

    def plainly(self, messages: AsyncIterator[int]) -> int:
        return 1


CHECK = HealthCheck()
SOCKET: dict[str, Any] = {"is_websocket": True}


@pytest.mark.parametrize(
    ("routes", "said"),
    [
        ({"/one": "one"}, "by their RouteSignature"),
        ({RouteSignature("/one"): "nothing"}, "by their RouteSignature"),
        ({RouteSignature("one"): "one"}, "must begin with '/'"),
        ({RouteSignature("/{a}/{a}"): "one"}, "'/{a}/{a}' of endpoint 'one'"),
        ({RouteSignature("/one", max_batch_size=0): "many"}, "whole number of at least 1"),
        ({RouteSignature("/one", max_batch_size=2): "one"}, r"'def one\(self, \*inputs\)'"),
        ({RouteSignature("/one"): "many_of"}, r"cannot have other parameters \(prefix\)"),
        ({RouteSignature("/{a}"): "one", RouteSignature("/{b}"): "many"}, "are both the"),
        (
            {
                RouteSignature("/a", health_check=CHECK): "one",
                RouteSignature("/b", health_check=CHECK): "many",
            },
            "'one' and 'many' are all health checks",
        ),
        ({RouteSignature("/one", health_check="/one"): "one"}, "must be a HealthCheck"),
        ({RouteSignature("/one", **SOCKET): "one"}, "annotated with 'WebSocket'"),
        (
            {RouteSignature("/one", realtime_mode="unary", max_batch_size=2, **SOCKET): "one"},
            "takes no batches",
        ),
        (
            {RouteSignature("/one", realtime_mode="unary", **SOCKET): "items"},
            "has the realtime_mode 'unary', and yields",
        ),
        (
            {RouteSignature("/one", realtime_mode="client_streaming", **SOCKET): "plainly"},
            "must be 'async def'",
        ),
        (
            {
                RouteSignature(
                    "/one", realtime_mode="unary", content_type="image/png", **SOCKET
                ): "one"
            },
            "no codec for it",
        ),
    ],
)
def test_routes_of_a_servable_are_checked_as_those_of_an_application(
    routes: dict[Any, str], said: str
):
    """What the decorators of an application refuse is refused in handwritten routes too."""
    servable = Plain()
    servable.routes = {  # type: ignore[misc]  # of this instance alone
        route: getattr(servable, name, name) for route, name in routes.items()
    }
    with pytest.raises(OptionError, match=said):
        servable.build_application()


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({"handle_exit": 3}, "'handle_exit' is a method"),
        ({"lifespan": None}, "'lifespan' is a method"),
        ({"cors": "no"}, "cors must be True or False"),
    ],
)
def test_hooks_of_a_servable_are_checked_where_it_is_defined(space: dict[str, Any], said: str):
    """A hook that cannot be called, and a wrong value of an option, fail with the class."""
    with pytest.raises(OptionError, match=said):
        type("Wrong", (Plain,), space)


@pytest.mark.parametrize("name", ["hints", "collect_routes", "add_routes"])
def test_hook_that_is_used_at_once_is_not_async(name: str):
    """A hook whose result is not awaited cannot be ``async def``."""

    async def hook(self) -> Any: ...

    with pytest.raises(OptionError, match=f"{name} cannot be 'async def'"):
        type("Wrong", (Plain,), {name: hook})


def test_servable_that_cannot_be_made_is_refused():
    """A class without routes, or whose arguments nobody would pass, is refused before a launch."""

    class Needing(Plain):
        def __init__(self, model: str) -> None: ...

    class Routeless(BaseServable):
        pass

    with pytest.raises(OptionError, match="'Needing' has an __init__ that takes 'model'"):
        function("current", serve=True)(Needing).spawn()
    with pytest.raises(OptionError, match="'Routeless' does not define collect_routes"):
        function("current", serve=True)(Routeless).spawn()


def test_served_function_is_checked_as_a_method_is():
    """A served function that mixes parameters with a batch is refused before a launch."""

    @function("current", serve=True)
    def mixed(prefix: str, *texts: str) -> list[str]:
        return [prefix + each for each in texts]

    with pytest.raises(OptionError, match="Function 'mixed' takes batches"):
        mixed.spawn()
