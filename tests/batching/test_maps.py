"""Maps over inputs that are slow, endless, or raise."""

from __future__ import annotations

import gc
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from fal_core import FalSerializationError, function
from fal_host_local import LocalHost


def wait(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


def test_every_result_comes_once_and_in_order(local_host: LocalHost):
    """Each item has one result, in order, for batches of any size."""

    @function("current", host=local_host, max_concurrency=2)
    def negative(x: int) -> int:
        return -x

    for count in (0, 1, 2, 63, 64, 65, 20_000):
        assert list(negative.map(range(count))) == [-x for x in range(count)]
    unordered = negative.map(range(20_000), ordered=False)
    assert sorted(unordered) == sorted(-x for x in range(20_000))


def test_slow_inputs_do_not_hold_back_what_is_there(local_host: LocalHost):
    """An item is launched when it is there, not when many others have come."""

    @function("current", host=local_host, max_concurrency=1)
    def double(x: int) -> int:
        return 2 * x

    # Quick calls have shown before that large batches would pay.
    assert sum(double.map(range(5000))) == 2 * sum(range(5000))
    given = []

    def slow() -> Iterator[int]:
        for x in itertools.count():
            # Much slower than an item runs.
            time.sleep(0.05)
            given.append(x)
            yield x

    results = double.map(slow())
    assert [next(results) for _ in range(3)] == [0, 2, 4]
    assert len(given) < 20
    results.close()  # type: ignore[attr-defined]  # Documented as an iterator.


def test_window_bounds_the_items_taken(local_host: LocalHost):
    """No more items are taken than the window says, over the results that were taken."""

    @function("current", host=local_host, max_concurrency=2)
    def same(x: int) -> int:
        return x

    taken = 0

    def counted() -> Iterator[int]:
        nonlocal taken
        while True:
            taken += 1
            yield taken

    results = same.map(counted(), window=5)
    for number in range(1, 300):
        assert next(results) == number
        assert taken <= number + 5
    results.close()  # type: ignore[attr-defined]  # Documented as an iterator.


def test_input_that_raises_ends_the_map_after_earlier_results(local_host: LocalHost):
    """An exception of the inputs is raised once the results of the items before it are taken."""

    @function("current", host=local_host, max_concurrency=2)
    def same(x: int) -> int:
        return x

    def broken() -> Iterator[int]:
        yield from range(100)
        raise LookupError("no more")

    results = same.map(broken())
    assert [next(results) for _ in range(100)] == list(range(100))
    with pytest.raises(LookupError, match="no more"):
        next(results)


def test_calls_of_one_map_run_in_several_workers(local_host: LocalHost, tmp_path: Path):
    """Long calls are not held together while a worker could take some."""

    @function("current", host=local_host, min_concurrency=2, max_concurrency=2)
    def meet(folder: Path) -> int:
        import os
        import time

        # None ends before one has begun in the other worker, however late that starts.
        (folder / str(os.getpid())).touch()
        until = time.monotonic() + 60
        while len(list(folder.iterdir())) < 2:
            assert time.monotonic() < until
            # Until an item has begun in the other worker.
            time.sleep(0.01)
        # Long enough for the other worker to get the next item.
        time.sleep(0.05)
        return os.getpid()

    assert len(set(meet.map(itertools.repeat(tmp_path, 20)))) == 2


def test_an_unordered_map_gives_results_as_they_are_ready(local_host: LocalHost):
    """Results of an unordered map come in the order in which they got ready."""

    @function("current", host=local_host, max_concurrency=1)
    def same(x: int) -> int:
        return x

    # One worker runs them one after the other.
    assert list(same.map(range(5000), ordered=False)) == list(range(5000))


def test_a_map_over_no_iterable_is_refused_once(local_host: LocalHost):
    """A map that cannot be made raises, and says nothing more when it is forgotten."""

    @function("current", host=local_host)
    def same(x: int) -> int:
        return x

    with pytest.raises(TypeError, match="iterable"):
        same.map(3)  # type: ignore[arg-type]  # wrong on purpose
    gc.collect()


def test_an_item_of_a_map_has_its_time_from_when_it_runs(local_host: LocalHost):
    """Items that wait for a worker do not wait on their own time."""
    isolated = function("current", host=local_host, max_concurrency=1, timeout=5)(wait)

    assert list(isolated.map([0.4] * 14)) == [0.4] * 14


def test_an_item_that_raises_stop_iteration_is_told(local_host: LocalHost):
    """An item that raises StopIteration does not look like the end of the map."""

    @function("current", host=local_host)
    def take(number: int) -> int:
        return number if number != 2 else next(iter(()))

    taken = take.map(range(5))
    assert [next(taken), next(taken)] == [0, 1]
    with pytest.raises(RuntimeError, match="raised StopIteration") as caught:
        next(taken)
    assert isinstance(caught.value.__cause__, StopIteration)


def test_an_argument_that_cannot_travel_is_named(local_host: LocalHost):
    """The error of an item names its argument, as that of a call does, and no place in a batch."""

    @function("current", host=local_host, max_concurrency=1)
    def take(first: object, second: object = None) -> None:
        pass

    with open(__file__) as file:
        for items in ([file], [1, file, 3]):
            with pytest.raises(FalSerializationError, match=r"because of args\[0\]"):
                list(take.map(items))
        with pytest.raises(FalSerializationError, match=r"because of kwargs\['second'\]"):
            take.submit(1, second=file).result()


class Wordless(Exception):
    """An error that says only once what is wrong."""

    told = False

    def __str__(self) -> str:
        if self.told:
            raise LookupError("no words")
        Wordless.told = True
        return "not now"


class Stubborn:
    def __reduce__(self) -> str:
        raise Wordless


def test_an_item_that_cannot_be_sealed_twice_has_its_first_error(local_host: LocalHost):
    """Whatever goes wrong as the argument is looked for, the call of the item ends."""
    isolated = function("current", host=local_host, max_concurrency=1)(abs)
    with pytest.raises(FalSerializationError, match="not now"):
        isolated.submit(Stubborn()).result(60)  # type: ignore[arg-type]  # that is refused
