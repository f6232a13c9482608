"""Laws of places: more calls than a host has places for, and two hosts in one process."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import Any

import attrs
import pytest

from fal_core.hosts import Host
from fal_testing.harness.expectations import expect, expect_printed
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow, Recorder

#: How many calls are made at once, at most.
_MANY = 32


@pytest.fixture
def make_host(host: Host[..., Any]) -> Callable[[], Host[..., Any]]:
    """A function that makes one more host like *host*, of the same name."""
    return lambda: _copy(host)


@pytest.fixture
def another_host(make_host: Callable[[], Host[..., Any]]) -> Iterator[Host[..., Any]]:
    """One more host, which is closed at the end of the law."""
    another = make_host()
    yield another
    with suppress(Exception):
        another.close()


def test_more_calls_than_places_all_end(
    host: Host[..., Any], isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Many calls that are launched at once all end, each with its own result, in any order,
    where there are places for a few of them.
    """
    count = min(max(12, host.capabilities.concurrency + 4), _MANY)

    @isolated(max_concurrency=2)
    def take_a_place(number: int) -> int:
        import time

        time.sleep(0.02)  # Long enough for the others to come meanwhile.
        return number

    until = time.monotonic() + law_timeout

    def end(number: int) -> Any:
        return _end_of(lambda: follow(take_a_place, number), until)

    # Each in a thread of its own: none waits until launch of another has returned.
    with ThreadPoolExecutor(count) as callers:
        ends = list(callers.map(end, range(count)))
    expect(
        {number: end for number, end in enumerate(ends) if end != number},
        {},
        f"Which of {count} calls launched at once did not give back their own number",
        "A call that finds every place taken waits in the host and starts once one is free; it "
        "is neither refused nor lost.",
    )


def test_two_hosts_of_one_name_have_calls_of_their_own(
    another_host: Host[..., Any], isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """
    Calls of two hosts of one name in one process do not mix, and closing one host leaves the
    other working.
    """

    @isolated()
    def introduce_each(name: str) -> str:
        print("I am", name)
        return name

    names = ("first", "second", "third")
    there = introduce_each.on(another_host)
    recorders = {}
    for name in names:
        recorders[name] = follow(introduce_each, name)
        recorders[f"other {name}"] = follow(there, f"other {name}")
    look = "Keep what belongs to calls in the host object, not in its class or its module."
    for name, recorder in recorders.items():
        result = recorder.result(law_timeout)
        expect(result, name, "The result of a call where another host has calls too", look)
        expect_printed(recorder, [f"I am {name}"], look)
    another_host.close()
    end = _end_of(lambda: follow(introduce_each, "left"), time.monotonic() + law_timeout)
    look = "close() ends what belongs to this host object, and nothing else."
    expect(end, "left", "A call after another host of this name was closed", look)


def _end_of(launch: Callable[[], Recorder], until: float) -> Any:
    """
    Return the result of the call that *launch* launches; where it has none, the error that it
    has ended with, in words.
    """
    try:
        recorder = launch()
        return recorder.result(max(0.0, until - time.monotonic()))
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def _copy(host: Host[..., Any]) -> Host[..., Any]:
    """Return a new host with the same configuration; a host that it has is copied too."""
    values = {}
    for field in attrs.fields(type(host)):
        if field.init:
            value = getattr(host, field.name)
            values[field.alias] = _copy(value) if isinstance(value, Host) else value
    return type(host)(**values)
