"""
Laws of calls: what is given arrives, what is returned comes back, once.
"""

from __future__ import annotations

import queue
import threading
import time
from dataclasses import dataclass
from typing import Any

import pytest

from fal_core.errors import FalSerializationError
from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated, Marks


def test_a_result_comes_back(isolated: Isolated) -> None:
    """
    The caller gets what the function returned.
    """

    @isolated()
    def answer() -> dict[str, object]:
        return {"text": "ä", "number": 2.5, "list": [1, None, True], "bytes": b"\0\xff"}

    assert answer() == {
        "text": "ä",
        "number": 2.5,
        "list": [1, None, True],
        "bytes": b"\0\xff",
    }


def test_arguments_arrive_by_position_and_by_name(isolated: Isolated) -> None:
    """
    The function gets its arguments as they were given, and its own defaults.
    """

    @isolated()
    def take(first: int, *rest: int, name: str = "default", **more: int) -> object:
        return first, rest, name, more

    assert take(1) == (1, (), "default", {})
    assert take(1, 2, 3, name="given", other=4) == (1, (2, 3), "given", {"other": 4})


def test_large_values_travel_both_ways(isolated: Isolated) -> None:
    """
    Eight megabytes arrive whole, and come back whole.
    """

    @isolated()
    def reverse(data: bytes) -> bytes:
        return data[::-1]

    data = bytes(range(256)) * (8 << 12)
    assert len(data) == 8 << 20
    assert reverse(data) == data[::-1]


def test_large_buffers_travel_both_ways(isolated: Isolated) -> None:
    """
    Buffers that travel beside the pickle arrive whole, in their order.
    """

    class Block(bytearray):
        def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
            from pickle import PickleBuffer

            return bytes, (PickleBuffer(self),)

    @isolated()
    def turn(blocks: list[bytes]) -> list[Block]:
        return [Block(block) for block in reversed(blocks)]

    blocks = [Block([number]) * (1 << 20) for number in range(3)]
    turned = turn([Block(block) for block in blocks])
    assert [bytes(block) for block in turned] == [bytes(block) for block in blocks[::-1]]


def test_every_call_gets_its_own_result(isolated: Isolated) -> None:
    """
    Equal functions called with other arguments give other results.
    """

    @isolated()
    def square(number: int) -> int:
        return number * number

    assert [square(number) for number in range(5)] == [0, 1, 4, 9, 16]


def test_calls_of_many_threads_do_not_mix(isolated: Isolated, law_timeout: float) -> None:
    """
    Each of many threads that call at once gets the results of its own calls.
    """

    @isolated()
    def echo(value: tuple[int, int]) -> tuple[int, int]:
        return value

    wrong: list[object] = []

    def call(thread: int) -> None:
        try:
            wrong.extend(value for value in values(thread) if echo(value) != value)
        except Exception as error:
            wrong.append(error)

    def values(thread: int) -> list[tuple[int, int]]:
        return [(thread, number) for number in range(8)]

    threads = [threading.Thread(target=call, args=(index,), daemon=True) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(law_timeout)
    assert not wrong
    assert not any(thread.is_alive() for thread in threads)


def test_functions_of_one_name_are_told_apart(isolated: Isolated) -> None:
    """
    A function runs with the values that it has captured, not with another's.
    """

    def make(captured: str) -> Any:
        @isolated()
        def recall() -> str:
            return captured

        return recall

    first, second = make("left"), make("back")
    assert [first(), second(), first()] == ["left", "back", "left"]


def test_a_call_runs_once(isolated: Isolated, marks: Marks) -> None:
    """
    A call whose host does not fail runs once.
    """
    add = marks.add

    @isolated()
    def run() -> str:
        add("run")
        return "done"

    assert run() == "done"
    time.sleep(0.5)  # No second run must come meanwhile.
    assert len(marks.read()) <= 1


def test_a_class_stays_the_same_class(isolated: Isolated) -> None:
    """
    An instance of the caller's class that is returned is of that very class.
    """

    @dataclass
    class Point:
        x: int
        y: int = 0

    @isolated()
    def mirror(point: Point) -> Point:
        return Point(point.y, point.x)

    mirrored = mirror(Point(1, 2))
    assert type(mirrored) is Point
    assert mirrored == Point(2, 1)


def test_a_result_that_cannot_travel_is_an_error(isolated: Isolated) -> None:
    """
    A result that cannot be pickled is an error that says so, and the next call works.
    """

    @isolated()
    def give(what: str) -> object:
        import threading

        return threading.current_thread() if what == "thread" else what

    with pytest.raises(FalSerializationError, match="thread"):
        give("thread")
    assert give("text") == "text"


@requires("option setup_function")
def test_the_result_of_the_setup_is_the_first_argument(isolated: Isolated) -> None:
    """
    ``setup_function`` runs before the first call, and each call is given its result.
    """

    def load() -> dict[str, int]:
        return {"loaded": 1}

    @isolated(setup_function=load)
    def predict(model: dict[str, int], number: int) -> int:
        return model["loaded"] + number

    assert [predict(1), predict(2)] == [2, 3]


def test_locks_and_queues_travel_as_new_ones(isolated: Isolated) -> None:
    """
    What a function refers to may hold locks, which are free there, and queues with items.
    """
    lock, ready, work = threading.Lock(), threading.Event(), queue.Queue[int]()
    ready.set()
    work.put(7)

    @isolated()
    def use_all(given: queue.Queue[int]) -> tuple[bool, int, queue.Queue[int]]:
        with lock:
            given.put(work.get_nowait() + given.get_nowait())
        return ready.is_set(), work.qsize(), given

    mine: queue.Queue[int] = queue.Queue()
    mine.put(1)
    is_set, left, given = use_all(mine)
    assert (is_set, left, given.get_nowait()) == (True, 0, 8)
    assert (work.get_nowait(), mine.get_nowait()) == (7, 1)


def test_a_parameter_may_be_called_self(isolated: Isolated) -> None:
    """
    No name of a parameter is taken.
    """

    @isolated()
    def add_up(self: int, function: int, args: int) -> int:
        return self + function + args

    assert add_up(self=1, function=2, args=3) == 6
