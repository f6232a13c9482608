"""Laws of streams: what a generator yields, as it yields it."""

from __future__ import annotations

import itertools
import time
from collections.abc import AsyncIterator, Generator, Iterator
from contextlib import closing

from fal_core.events import Item, Log
from fal_testing.harness.capabilities import needs_of_the_law, requires
from fal_testing.harness.expectations import expect, expect_error, result_of
from fal_testing.harness.marks import Isolated
from fal_testing.harness.recorders import Follow
from fal_testing.hosts.watched import WatchedHost

LOOK = "Pass on each Item as it came, in order, at once, and the outcome after the last one."


@requires("stream")
def test_every_item_of_a_stream_arrives_in_order(isolated: Isolated) -> None:
    """A stream gives every item that the generator yields, in order, and ends."""

    @isolated()
    def tick(most: int) -> Iterator[int]:
        yield from range(most)

    expect(list(tick(100)), [*range(100)], "The items of a stream", LOOK)
    expect(list(tick(0)), [], "The items of an empty stream", LOOK)


@requires("stream")
def test_a_stream_ends_with_what_the_generator_returns(isolated: Isolated) -> None:
    """What the generator returns, after its last item, is the value of ``StopIteration``."""

    @isolated()
    def fill_and_sum(most: int) -> Generator[int, None, dict[str, int]]:
        yield from range(most)
        return {"total": most}

    def take() -> Generator[int, None, object]:
        returned = yield from fill_and_sum(2)
        return returned

    items = take()
    expect([next(items), next(items)], [0, 1], "The items of a stream", LOOK)
    with expect_error(StopIteration, LOOK) as ended:
        next(items)
    expect(ended.value.value, {"total": 2}, "What the generator returned", LOOK)


@requires("stream")
def test_an_async_generator_is_a_stream(isolated: Isolated) -> None:
    """An asynchronous generator gives a stream as any other does."""

    @isolated()
    async def drip(most: int) -> AsyncIterator[int]:
        import asyncio

        for number in range(most):
            await asyncio.sleep(0)
            yield number

    expect(list(drip(50)), [*range(50)], "The items of an asynchronous generator", LOOK)


@requires("stream", "cancel")
def test_an_item_arrives_while_the_generator_runs(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """Items are not kept back until the generator has ended."""

    @isolated()
    def wait(seconds: float) -> Iterator[int]:
        import time

        yield 1
        time.sleep(seconds)

    recorder = follow(wait, 10 * law_timeout)
    recorder.wait_for(Item, law_timeout)
    assert not recorder.ended, (
        "The first item came when the generator had ended; expected it while it runs. "
        f"{LOOK} These events came: {recorder.told}."
    )


@requires("stream")
def test_a_generator_is_held_back(isolated: Isolated) -> None:
    """A generator whose items are not taken waits until they are."""

    @isolated()
    def clock() -> Iterator[float]:
        import time

        for _ in range(64):
            yield time.monotonic()

    items = clock()
    times = [next(items)]
    time.sleep(0.8)  # A generator that is not held back would run to its end meanwhile.
    times += list(items)
    expect(len(times), 64, "The number of items", LOOK)
    pauses = [later - earlier for earlier, later in itertools.pairwise(times)]
    assert max(pauses) > 0.4, (
        "A generator ran on though nobody took its items: expected a pause of 0.4 s or more "
        f"between two items, found {max(pauses):.3f} s at most. Give the worker credit only "
        "for what Execution.send was given as Credit."
    )


@requires("stream")
def test_items_before_an_error_arrive(isolated: Isolated) -> None:
    """Items yielded before the generator raised arrive before its error."""

    @isolated()
    def break_off() -> Iterator[int]:
        yield 1
        yield 2
        raise LookupError("gone")

    items = break_off()
    found = [next(items), next(items)]
    expect(found, [1, 2], "The items before the generator raised", LOOK)
    with expect_error(LookupError, LOOK, match="gone"):
        next(items)


@requires("stream")
def test_lines_and_items_arrive_in_order(
    isolated: Isolated, follow: Follow, law_timeout: float
) -> None:
    """A line that was printed before an item was yielded arrives before the item."""

    @isolated()
    def speak() -> Iterator[int]:
        for number in range(5):
            print("before", number)
            yield number

    recorder = follow(speak)
    recorder.wait(law_timeout)
    order = [
        "line" if isinstance(event, Log) else "item"
        for event in recorder.events
        if isinstance(event, Item) or (isinstance(event, Log) and event.source == "USER")
    ]
    look = "Send lines and items from one thread, in the order in which the worker sent them."
    expect(order, ["line", "item"] * 5, "The order of lines and items", look)


@requires("stream", "cancel")
def test_a_closed_stream_ends(
    isolated: Isolated, watched: WatchedHost, law_timeout: float
) -> None:
    """Closing a stream ends the generator, endless ones too."""

    @isolated()
    def count_up() -> Iterator[int]:
        number = 0
        while True:
            yield number
            number += 1

    with closing(count_up.on(watched)()) as items:
        expect([next(items) for _ in range(3)], [0, 1, 2], "The first items", LOOK)
    assert watched.all_ended(law_timeout), (
        f"A stream was closed, and its call has not ended after {law_timeout:g} s. "
        "Execution.cancel has to end a generator that waits for credit too. "
        f"{needs_of_the_law()}"
    )


@requires("stream")
def test_a_spawned_generator_gives_a_list(isolated: Isolated, law_timeout: float) -> None:
    """The result of a spawned generator is the list of what it yields."""

    @isolated()
    def gather() -> Iterator[int]:
        yield from range(40)

    info = gather.spawn()
    found = result_of(info.future, law_timeout, "a spawned generator")
    expect(found, [*range(40)], "The result of a spawned generator", LOOK)
