"""Streams of the items that a generator function yields."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Iterator
from typing import Any, ClassVar

import attrs
import pytest

from fal_core import function
from fal_core.calling.streaming import CREDIT
from fal_core.calls import Call
from fal_core.errors import UnsupportedError
from fal_core.events import Credit, Message, Sink
from fal_core.hosts import Execution
from fal_core.wrappers import WrapperHost
from fal_testing import InProcessHost


class Watched:
    """An execution around another one that records the messages sent to it."""

    def __init__(self, inner: Execution, asked: list[Any]) -> None:
        self._inner = inner
        self._asked = asked

    @property
    def reference(self) -> str:
        return self._inner.reference

    def send(self, message: Message) -> None:
        self._asked.append(message)
        self._inner.send(message)

    def drain(self) -> None:
        self._inner.drain()

    def cancel(self, grace: float) -> None:
        self._asked.append(grace)
        self._inner.cancel(grace)


@attrs.define(eq=False, slots=False)
class WatchedHost(WrapperHost[..., Any]):
    """A host that records the messages to its executions."""

    name: ClassVar[str] = "watched"

    asked: list[Any] = attrs.field(factory=list, init=False)

    def launch(self, call: Call, sink: Sink) -> Execution:
        return Watched(self.inner.launch(call, sink), self.asked)


def count(limit: int) -> Iterator[int]:
    yield from range(limit)


@pytest.fixture
def host() -> WatchedHost:
    return WatchedHost(InProcessHost())


def test_the_function_gets_credit_for_the_items_that_are_taken(host: WatchedHost) -> None:
    """The function may yield as many more items as were taken, in steps."""
    items = function("current", host=host)(count)(3 * CREDIT)

    assert list(items) == list(range(3 * CREDIT))
    assert host.asked == [Credit(CREDIT)] * 3


@pytest.mark.parametrize("way", ["closed", "forgotten"])
def test_a_stream_that_is_left_ends_the_function(host: WatchedHost, way: str) -> None:
    """Closing a stream early cancels its call, with the grace of the policy."""
    items: Any = function("current", host=host, grace=1.5)(count)(1000)
    assert next(items) == 0
    if way == "closed":
        items.close()
        assert list(items) == []
    del items
    gc.collect()

    assert host.asked == [1.5]


def test_exception_of_the_function_is_raised_after_its_items(host: WatchedHost) -> None:
    """The items that it has yielded before come first."""

    def fail() -> Iterator[int]:
        yield 1
        raise LookupError("after one")

    items = function("current", host=host)(fail)()

    assert next(items) == 1
    with pytest.raises(LookupError, match="after one"):
        next(items)
    assert list(items) == []


def test_what_a_generator_returns_ends_its_stream(host: WatchedHost) -> None:
    """The stream ends with what the function returned, as a generator does."""

    def fill(limit: int) -> Iterator[int]:
        yield from range(limit)
        return {"total": limit}

    items = function("current", host=host)(fill)(1)
    assert next(items) == 0
    with pytest.raises(StopIteration) as ended:
        next(items)
    assert ended.value.value == {"total": 1}
    with pytest.raises(StopIteration) as ended:
        next(items)
    assert ended.value.value is None


def test_a_running_generator_is_sent_nothing(host: WatchedHost) -> None:
    """Sending and throwing into a stream are refused with a sentence; its items still come."""
    items: Any = function("current", host=host)(count)(2)
    assert items.send(None) == 0
    with pytest.raises(UnsupportedError, match="cannot send a value into a running generator"):
        items.send("value")
    with pytest.raises(UnsupportedError, match="cannot raise an exception in a running"):
        items.throw(ValueError("stop"))
    assert list(items) == [1]

    async def send() -> None:
        items: Any = function("current", host=host)(count).aio.stream(2)
        assert await anext(items) == 0
        with pytest.raises(UnsupportedError, match="cannot send a value"):
            await items.asend("value")

    asyncio.run(send())
