"""Iterations over what handlers yield."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from fal_serve.answering.iterations import ThreadIterator, iterate

PATIENCE = 60


class Steps:
    """Generators of both kinds that note how they end."""

    def __init__(self) -> None:
        self.ended: list[str] = []
        self.threads: list[int] = []

    def plain(self) -> Iterator[int]:
        try:
            for number in range(3):
                self.threads.append(threading.get_ident())
                yield number
        finally:
            self.ended.append("plain")

    async def coroutine(self) -> AsyncIterator[int]:
        try:
            for number in range(3):
                yield number
        finally:
            self.ended.append("coroutine")


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_generators_of_both_kinds_are_iterated_over(kind: str) -> None:
    """All items come in order, and the steps of a plain generator run on threads."""
    steps = Steps()

    async def consume() -> list[int]:
        return [item async for item in iterate(getattr(steps, kind)())]

    assert asyncio.run(consume()) == [0, 1, 2]
    assert steps.ended == [kind]
    assert threading.get_ident() not in steps.threads


@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_generator_is_closed_when_nobody_wants_its_items(kind: str) -> None:
    """Closing the iteration closes the generator, whose ``finally`` has run by then."""
    steps = Steps()

    async def consume() -> None:
        # Held, so that it is not closed for want of references.
        generator = getattr(steps, kind)()
        items = iterate(generator)
        assert await anext(items) == 0
        assert steps.ended == []
        await items.aclose()
        assert steps.ended == [kind]

    asyncio.run(consume())


def test_iterator_without_a_close_is_enough() -> None:
    """A list is iterated over like a generator."""

    async def consume() -> list[str]:
        return [item async for item in iterate(["a", "b"])]

    assert asyncio.run(consume()) == ["a", "b"]


def test_value_that_cannot_be_iterated_over_is_named() -> None:
    """The error says what a handler has returned in place of an iterator."""

    async def consume() -> None:
        async for _ in iterate(3):
            pass

    with pytest.raises(TypeError, match=r"must yield, or return an iterator.*type 'int'"):
        asyncio.run(consume())


class Gated:
    """An iterator whose step waits for a gate."""

    def __init__(self, closes: Any = None) -> None:
        self.entered, self.gate, self.closed = (threading.Event() for _ in range(3))
        self.closes = closes

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.entered.set()
        assert self.gate.wait(PATIENCE)
        assert not self.closed.is_set()
        return 1

    def close(self) -> None:
        self.closed.set()
        if self.closes is not None:
            raise self.closes


def close_during_a_step(steps: ThreadIterator, gated: Gated) -> list[int]:
    """Close *steps* while a step runs; return what the step gave."""
    given: list[int] = []
    thread = threading.Thread(target=lambda: given.append(steps.next()))
    thread.start()
    assert gated.entered.wait(PATIENCE)
    steps.close()
    assert not gated.closed.is_set()
    gated.gate.set()
    thread.join(PATIENCE)
    return given


def test_iterator_is_closed_after_its_running_step() -> None:
    """A step is never closed from another thread, and no step follows."""
    gated = Gated()
    steps = ThreadIterator(iter(gated))
    assert close_during_a_step(steps, gated) == [1]
    assert gated.closed.is_set()
    assert steps.next() is steps.end


def test_error_of_a_late_close_is_logged(capsys: pytest.CaptureFixture[str]) -> None:
    """Nobody is left to be told of an error in the ``finally`` of an abandoned generator."""
    gated = Gated(LookupError("in the end"))
    assert close_during_a_step(ThreadIterator(iter(gated)), gated) == [1]
    printed = capsys.readouterr()
    assert "LookupError: in the end" in printed.out + printed.err
