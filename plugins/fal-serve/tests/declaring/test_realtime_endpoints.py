"""Declarations of realtime endpoints: modes, types, and mistakes."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Generator,
    Iterable,
    Iterator,
)
from typing import Any

import cloudpickle
import pytest
from pydantic import BaseModel

from fal_serve import App, endpoint, realtime


class In(BaseModel):
    x: int


class Out(BaseModel):
    y: int


class Handlers:
    """Handlers of each kind."""

    def plain(self, input: In) -> Out: ...
    async def plain_async(self, input: In) -> Out: ...
    def anything(self, input): ...
    def any_to_nothing(self, input: Any) -> None: ...
    def generator(self, input: In) -> Iterator[Out]:
        yield Out(y=1)

    def generator_full(self, input: In) -> Generator[Out, None, None]:
        yield Out(y=1)

    def generator_bare(self, input: In):
        yield Out(y=1)

    def iterable(self, input: In) -> Iterable[Out]: ...
    async def agenerator(self, input: In) -> AsyncIterator[Out]:
        yield Out(y=1)

    async def agenerator_full(self, input: In) -> AsyncGenerator[Out, None]:
        yield Out(y=1)

    async def collect(self, inputs: AsyncIterator[In]) -> Out: ...
    async def collect_bare(self, inputs: AsyncIterator) -> Out: ...
    async def bidi(self, inputs: AsyncIterator[In]) -> AsyncIterator[Out]:
        yield Out(y=1)

    async def bidi_returned(self, inputs: AsyncIterator[In]) -> AsyncIterator[Out]: ...
    def batch(self, *inputs: In) -> list[Out]: ...
    async def batch_bare(self, *inputs): ...
    def leading(self, input: In, *inputs: In) -> Out: ...
    async def leading_list(self, input, /, *inputs) -> list[Out]: ...


@pytest.mark.parametrize(
    ("name", "mode", "taken", "given"),
    [
        ("plain", "unary", In, Out),
        ("plain_async", "unary", In, Out),
        ("anything", "unary", None, None),
        ("any_to_nothing", "unary", None, None),
        ("generator", "server_streaming", In, Out),
        ("generator_full", "server_streaming", In, Out),
        ("generator_bare", "server_streaming", In, None),
        ("iterable", "server_streaming", In, Out),
        ("agenerator", "server_streaming", In, Out),
        ("agenerator_full", "server_streaming", In, Out),
        ("collect", "client_streaming", In, Out),
        ("collect_bare", "client_streaming", None, Out),
        ("bidi", "bidi", In, Out),
        ("bidi_returned", "bidi", In, Out),
        ("batch", "unary", In, Out),
        ("batch_bare", "unary", None, None),
        ("leading", "unary", In, Out),
        ("leading_list", "unary", None, list[Out]),
    ],
)
def test_mode_and_types_are_found_in_the_annotations(
    name: str, mode: str, taken: Any, given: Any
) -> None:
    """Annotations tell the mode and the types of messages."""
    signature = realtime("/path")(getattr(Handlers, name)).route_signature
    assert signature.realtime_mode == mode
    assert signature.input_modal is taken
    assert signature.output_modal == given


def test_all_that_is_said_is_in_the_route() -> None:
    """The route has the values given to the decorator."""
    handler = realtime(
        "/path",
        buffering=3,
        session_timeout=4,
        input_modal=dict,
        output_modal=None,
        content_type="application/json",
        encode_message=bytes,
        decode_message=str,
        emit_timings=True,
    )(Handlers.plain)
    assert handler.route_signature == (
        *("/path", True, None, dict, None, "unary", "application/json"),
        *(3, 4, 1, True, bytes, str),
    )


def test_route_has_the_defaults_that_are_documented() -> None:
    """By default messages are msgpack, none is dropped, and a session waits for ever."""
    signature = realtime("/path")(Handlers.anything).route_signature
    assert signature == (
        *("/path", True, None, None, None, "unary", "application/msgpack"),
        *(None, None, 1, False, None, None),
    )


def test_method_is_still_the_method() -> None:
    """A realtime endpoint can be called like the method that it wraps."""

    class Own:
        @realtime("/double")
        def double(self, x: int) -> int:
            """Double it."""
            return self.factor * x

        @realtime("/async")
        async def later(self, x: int) -> int:
            return self.double(x)

        factor = 2

    assert Own().double(4) == 8
    assert asyncio.run(Own().later(4)) == 8
    assert Own.double(Own(), 4) == 8
    assert Own.double.__name__ == "double"
    assert Own.double.__doc__ == "Double it."
    assert Own.double.original_func(Own(), 1) == 2


def test_types_may_be_local() -> None:
    """Annotations are resolved where the class is defined."""

    class Local(BaseModel):
        x: int

    class Own:
        class Inner(BaseModel):
            y: int

        @realtime("/path")
        def handle(self, input: Local) -> Inner: ...

    signature = Own.handle.route_signature
    assert signature.input_modal is Local
    assert signature.output_modal is Own.Inner


def test_endpoint_travels() -> None:
    """An endpoint pickles with its handler and route, and none of fal_serve's code."""

    @realtime("/double")
    def double(x: int) -> int:
        return 2 * x

    data = cloudpickle.dumps(double)
    found = pickle.loads(data)
    assert found.route_signature == double.route_signature
    assert found(2) == 4
    assert b"conversations" not in data


@pytest.mark.parametrize(
    ("handler", "options", "said"),
    [
        (lambda self: None, {}, "must take one parameter"),
        (lambda self, a, b: None, {}, "must take one parameter"),
        (lambda self, *, a: None, {}, "must take one parameter"),
        (lambda self, a, b, *inputs: None, {}, "cannot have other parameters"),
        (lambda self, a=1, *inputs: None, {}, "cannot have other parameters"),
        (Handlers.plain, {"max_batch_size": 2}, "takes no batches"),
        (Handlers.batch, {"max_batch_size": 0}, "max_batch_size"),
        (Handlers.batch, {"batch_wait": -1}, "batch_wait"),
        (Handlers.plain, {"buffering": 0}, "buffering"),
        (Handlers.plain, {"buffering": True}, "buffering"),
        (Handlers.plain, {"content_type": "image/png"}, "no codec for it"),
        (Handlers.plain, {"batch_wait": 1}, "for batches of many sessions"),
        (Handlers.leading, {"batch_wait": 1}, "for batches of many sessions"),
        (Handlers.plain, {"session_timeout": 0}, "session_timeout"),
        (Handlers.plain, {"session_timeout": "1"}, "session_timeout"),
    ],
)
def test_wrong_declaration_fails_where_it_is_written(
    handler: Callable[..., Any], options: dict[str, Any], said: str
) -> None:
    """The error names the handler and says how to write it."""
    with pytest.raises(ValueError, match=said) as caught:
        realtime("/path", **options)(handler)
    assert repr(handler.__name__) in str(caught.value)


def test_handler_that_cannot_stream_is_refused() -> None:
    """Only async functions iterate over inputs, and batches cannot stream."""

    def collect(self, inputs: AsyncIterator[In]) -> Out: ...
    def batch(self, *inputs: In) -> Iterator[Out]:
        yield Out(y=1)

    with pytest.raises(ValueError, match=r"'collect'.*must be 'async def'"):
        realtime("/path")(collect)
    with pytest.raises(ValueError, match=r"'batch'.*cannot stream.*an output for each"):
        realtime("/path")(batch)

    def leading(self, input: In, *inputs: In) -> Iterator[Out]:
        yield Out(y=1)

    with pytest.raises(ValueError, match=r"'leading'.*cannot stream.*one output"):
        realtime("/path")(leading)


def test_annotation_that_means_nothing_is_refused() -> None:
    """An unresolvable annotation is an error, unless the type is given otherwise."""

    def handle(self, input: Missing) -> Out: ...  # noqa: F821  # missing on purpose

    with pytest.raises(ValueError, match="'Missing' of realtime endpoint 'handle'"):
        realtime("/path")(handle)
    signature = realtime("/path", input_modal=None)(handle).route_signature
    assert signature.input_modal is None
    assert signature.output_modal is Out


def test_function_has_one_route() -> None:
    """A second decorator is refused, whichever it is."""
    with pytest.raises(ValueError, match="'anything'"):
        realtime("/two")(realtime("/one")(Handlers.anything))
    with pytest.raises(ValueError, match="'anything'"):
        endpoint("/two")(realtime("/one")(Handlers.anything))


def test_document_tells_of_realtime_endpoints() -> None:
    """The OpenAPI document has the types and the protocol of realtime endpoints."""

    class Documented(App):
        @realtime("/model", buffering=2, session_timeout=5)
        async def model(self, inputs: AsyncIterator[In]) -> AsyncIterator[Out]:
            yield Out(y=1)

        @realtime("/values")
        def values(self, input: dict[str, int] | None) -> list[int]: ...

        @realtime("/bare")
        def bare(self, input): ...

        @realtime("/batch", max_batch_size=4)
        def batch(self, *inputs: In) -> list[Out]: ...

    paths = Documented().openapi()["paths"]
    assert paths["/model"]["x-fal-protocol"] == {
        "type": "realtime",
        "operationId": "model",
        "config": {"buffering": 2, "sessionTimeout": 5, "maxBatchSize": 1},
        "contentType": "application/msgpack",
        "realtimeMode": "bidi",
    }
    body = paths["/model"]["post"]["requestBody"]["content"]["application/json"]["schema"]
    assert body == {"$ref": "#/components/schemas/In"}
    assert paths["/values"]["x-fal-protocol"]["realtimeMode"] == "unary"
    assert "post" in paths["/values"]
    assert "post" not in paths["/bare"]
    assert paths["/batch"]["x-fal-protocol"]["config"]["maxBatchSize"] == 4
