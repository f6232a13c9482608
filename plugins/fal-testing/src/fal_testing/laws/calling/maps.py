"""Laws of maps: a function over many items."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from contextlib import closing

from fal_testing.harness.capabilities import needs_of_the_law, requires
from fal_testing.harness.expectations import expect, expect_error
from fal_testing.harness.marks import Isolated
from fal_testing.hosts.watched import WatchedHost

LOOK = "Pass on each Item of a batch as it came: first, count, and the outcomes in their order."


def test_results_come_in_the_order_of_the_items(isolated: Isolated) -> None:
    """An ordered map gives results in order, also where later items are quicker."""

    @isolated()
    def dawdle(number: int) -> int:
        import time

        time.sleep(0.02 if number % 8 == 0 else 0)  # Others overtake these items.
        return number

    expect(list(dawdle.map(range(50))), [*range(50)], "The results of a map", LOOK)


def test_an_unordered_map_gives_every_result_once(isolated: Isolated) -> None:
    """An unordered map gives each result once, in any order."""

    @isolated()
    def pass_on(number: int) -> int:
        return number

    found = sorted(pass_on.map(range(80), ordered=False))
    expect(found, [*range(80)], "The sorted results of an unordered map", LOOK)


def test_a_map_gives_errors_where_they_are_wanted(isolated: Isolated) -> None:
    """With ``return_exceptions`` an error takes the place of a result."""

    @isolated()
    def sift(number: int) -> int:
        if number == 5:
            raise LookupError(number)
        return number

    results = list(sift.map(range(10), return_exceptions=True))
    expect(type(results[5]), LookupError, "The type of the result that is an error", LOOK)
    others = [*results[:5], *results[6:]]
    expect(others, [0, 1, 2, 3, 4, 6, 7, 8, 9], "The other results of the map", LOOK)


def test_a_map_raises_the_error_of_an_item(isolated: Isolated) -> None:
    """Results before the item that raised are given; then the map raises its error."""

    @isolated()
    def stumble(number: int) -> int:
        if number == 3:
            raise LookupError("three")
        return number

    results = stumble.map(range(10))
    found = [next(results) for _ in range(3)]
    expect(found, [0, 1, 2], "The results before the item that raises", LOOK)
    with expect_error(LookupError, LOOK, match="three"):
        next(results)


def test_results_before_an_input_that_raises_are_given(isolated: Isolated) -> None:
    """Where the input iterator raises, the items that it gave before are finished first."""

    def numbers() -> Iterator[int]:
        yield from range(20)
        raise LookupError("no more")

    @isolated()
    def keep(number: int) -> int:
        return number

    results = keep.map(numbers())
    found = [next(results) for _ in range(20)]
    expect(found, [*range(20)], "The results before the input that raises", LOOK)
    with expect_error(LookupError, LOOK, match="no more"):
        next(results)


@requires("cancel")
def test_a_map_over_endless_items_can_be_left(
    isolated: Isolated, watched: WatchedHost, law_timeout: float
) -> None:
    """Items are taken as results are taken; closing the map ends the calls that still run."""

    @isolated()
    def crawl(number: int, seconds: float) -> int:
        import time

        # One alone, so that no other item waits for a worker: a batch may hand items back,
        # and then later ones run before them.
        if number == 60:
            time.sleep(seconds)
        return number

    seconds = itertools.repeat(10 * law_timeout)
    with closing(crawl.on(watched).map(itertools.count(), seconds)) as results:
        found = list(itertools.islice(results, 40))
        expect(found, [*range(40)], "The first results of an endless map", LOOK)
    assert watched.all_ended(law_timeout), (
        f"A map was closed, and {len(watched.running)} of its calls have not ended after "
        f"{law_timeout:g} s. Execution.cancel has to end a batch too, with Exited. "
        f"{needs_of_the_law()}"
    )


@requires("batch")
def test_lines_of_a_batch_name_their_item(isolated: Isolated, law_timeout: float) -> None:
    """A line printed by an item of a batch carries the call's id and the item's number."""
    from fal_testing.harness.recorders import Recorder

    @isolated()
    def speak(number: int) -> int:
        print("item", number)
        return number

    launcher = speak.make_launcher()
    recorder = Recorder(launcher)
    call = launcher.call([((number,), {}) for number in range(4)], batch=4)
    recorder.follow(speak.host.launch(call, recorder))
    recorder.wait(law_timeout)
    printed = {log.message: log.call_id for log in recorder.printed}
    expect(
        printed,
        {f"item {number}": f"{call.id}/{number}" for number in range(4)},
        "The lines of a batch, each with its call_id",
        "Pass on call_id of each Log as it came: the worker names the item in it.",
    )
