"""Laws of calls: what is given arrives, what is returned comes back, once."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

from fal_core.errors import FalSerializationError
from fal_testing.harness.capabilities import needs_of_the_law, requires
from fal_testing.harness.expectations import expect, expect_error
from fal_testing.harness.marks import Isolated, Marks

#: What nearly every fault of these laws comes from.
LOOK = (
    "Pass on what is sealed as it came, byte for byte: the function and the arguments of the "
    "call, and the outcome."
)


def test_a_result_comes_back(isolated: Isolated) -> None:
    """The caller gets what the function returned."""

    @isolated()
    def answer() -> dict[str, object]:
        return {"text": "ä", "number": 2.5, "list": [1, None, True], "bytes": b"\0\xff"}

    expected = {"text": "ä", "number": 2.5, "list": [1, None, True], "bytes": b"\0\xff"}
    expect(answer(), expected, "What the function returned", LOOK)


def test_arguments_arrive_by_position_and_by_name(isolated: Isolated) -> None:
    """The function gets its arguments as they were given, and its own defaults."""

    @isolated()
    def take(first: int, *rest: int, name: str = "default", **more: int) -> object:
        return first, rest, name, more

    what = "The arguments that the function got"
    expect(take(1), (1, (), "default", {}), what, LOOK)
    given = take(1, 2, 3, name="given", other=4)
    expect(given, (1, (2, 3), "given", {"other": 4}), what, LOOK)


def test_large_values_travel_both_ways(isolated: Isolated) -> None:
    """Eight megabytes arrive whole, and come back whole."""

    @isolated()
    def reverse(data: bytes) -> bytes:
        return data[::-1]

    data = bytes(range(256)) * (8 << 12)
    expect(reverse(data), data[::-1], "Eight megabytes, there and back", LOOK)


def test_large_buffers_travel_both_ways(isolated: Isolated) -> None:
    """Buffers that travel beside the pickle arrive whole, in their order."""

    class Block(bytearray):
        def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
            from pickle import PickleBuffer

            return bytes, (PickleBuffer(self),)

    @isolated()
    def turn(blocks: list[bytes]) -> list[Block]:
        return [Block(block) for block in reversed(blocks)]

    blocks = [Block([number]) * (1 << 20) for number in range(3)]
    turned = turn([Block(block) for block in blocks])
    expect(
        [bytes(block) for block in turned],
        [bytes(block) for block in blocks[::-1]],
        "Three buffers of a megabyte, in the order in which the function returned them",
        "Pass on the buffers of what is sealed in their order, and whole.",
    )


def test_every_call_gets_its_own_result(isolated: Isolated) -> None:
    """Equal functions called with other arguments give other results."""

    @isolated()
    def square(number: int) -> int:
        return number * number

    expect(
        [square(number) for number in range(5)],
        [0, 1, 4, 9, 16],
        "The results of five calls of one function",
        "Each call has arguments of its own: keep no result for another call.",
    )


def test_calls_of_many_threads_do_not_mix(isolated: Isolated, law_timeout: float) -> None:
    """Each of many threads that call at once gets the results of its own calls."""

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
    left = sum(thread.is_alive() for thread in threads)
    assert not left, (
        f"Six threads made eight calls each, and {left} of them still wait after "
        f"{law_timeout:g} s. Many threads may launch at once: see that none waits for another. "
        f"{needs_of_the_law()}"
    )
    expect(
        wrong,
        [],
        "Results of other calls, and errors, where six threads called at once",
        "Give each call's events to the sink that was launched with it.",
    )


def test_functions_of_one_name_are_told_apart(isolated: Isolated) -> None:
    """A function runs with the values that it has captured, not with another's."""

    def make(captured: str) -> Any:
        @isolated()
        def recall() -> str:
            return captured

        return recall

    first, second = make("left"), make("back")
    expect(
        [first(), second(), first()],
        ["left", "back", "left"],
        "What two functions of one name returned",
        "Tell functions apart by call.function.digest, not by their name.",
    )


def test_a_call_runs_once(isolated: Isolated, marks: Marks) -> None:
    """A call whose host does not fail runs once."""
    add = marks.add

    @isolated()
    def run() -> str:
        add("run")
        return "done"

    look = "Launch a call once, and leave it to `retries` to run one again."
    expect(run(), "done", "What the function returned", LOOK)
    time.sleep(0.5)  # No second run must come meanwhile.
    runs = len(marks.read())
    assert runs <= 1, f"One call ran {runs} times; expected once. {look}"


def test_a_class_stays_the_same_class(isolated: Isolated) -> None:
    """An instance of the caller's class that is returned is of that very class."""

    @dataclass
    class Point:
        x: int
        y: int = 0

    @isolated()
    def mirror(point: Point) -> Point:
        return Point(point.y, point.x)

    mirrored = mirror(Point(1, 2))
    assert type(mirrored) is Point, (
        f"The caller's class came back as another: expected {Point}, found {type(mirrored)}. "
        f"{LOOK}"
    )
    expect(mirrored, Point(2, 1), "What the function returned", LOOK)


def test_a_result_that_cannot_travel_is_an_error(isolated: Isolated) -> None:
    """A result that cannot be pickled is an error that says so, and the next call works."""

    @isolated()
    def give(what: str) -> object:
        import threading

        return threading.current_thread() if what == "thread" else what

    look = "The worker reports it as an outcome that has raised: pass that on."
    with expect_error(FalSerializationError, look, match="thread"):
        give("thread")
    expect(give("text"), "text", "The result of the next call", LOOK)


@requires("option setup_function")
def test_the_result_of_the_setup_is_the_first_argument(isolated: Isolated) -> None:
    """``setup_function`` runs before the first call, and each call is given its result."""

    def load() -> dict[str, int]:
        return {"loaded": 1}

    @isolated(setup_function=load)
    def predict(model: dict[str, int], number: int) -> int:
        return model["loaded"] + number

    expect(
        [predict(1), predict(2)],
        [2, 3],
        "What a function returned that adds to the result of its setup",
        "Pass on call.setup with the call, as a Worker does.",
    )


def test_a_parameter_may_be_called_self(isolated: Isolated) -> None:
    """No name of a parameter is taken."""

    @isolated()
    def add_up(self: int, function: int, args: int) -> int:
        return self + function + args

    expect(
        add_up(self=1, function=2, args=3),
        6,
        "The sum of arguments with the names self, function and args",
        "Hand arguments on sealed, or as a tuple and a dictionary, not as keywords.",
    )
