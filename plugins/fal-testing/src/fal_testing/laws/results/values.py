"""Laws of values: what arrives belongs to its receiver, and may be changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect
from fal_testing.harness.marks import Isolated

LOOK = (
    "Buffers of what is sealed are memory of the process that sealed it: a host that opens "
    "them in that process copies them first, as bytearray."
)

#: Bytes: travels in the pickle, travels beside it, is larger than many a limit.
SIZES = (1000, 1 << 17, 8 << 20)


def make_block() -> Any:
    """Return a class of values that travel beside the pickle where they are large."""

    class Block:
        def __init__(self, data: Any) -> None:
            self.data = data

        def __reduce_ex__(self, protocol: object) -> tuple[object, ...]:
            from pickle import PickleBuffer

            return Block, (PickleBuffer(self.data),)

        def fill(self, number: int) -> None:
            self.data[:] = bytes([number]) * len(self.data)

        def ends(self) -> tuple[int, int, int]:
            return self.data[0], self.data[-1], len(self.data)

    return Block


@pytest.mark.parametrize("size", SIZES)
def test_a_function_may_change_its_arguments(isolated: Isolated, size: int) -> None:
    """
    A function may change its arguments, of any size, nested ones too. Those of the caller stay
    as they are, and every call gets them anew.
    """
    Block = make_block()

    @isolated()
    def change(nested: dict[str, list[Any]], number: int) -> Any:
        (block,) = nested["blocks"]
        before = block.ends()
        block.fill(number)
        return before, block.ends()

    mine = Block(bytearray(size))
    for number in range(1, 4):
        answer = change({"blocks": [mine]}, number)
        expected = ((0, 0, size), (number, number, size))
        expect(answer, expected, "An argument before and after the function wrote", LOOK)
        expect(mine.ends(), (0, 0, size), "The caller's own value afterwards", LOOK)


@pytest.mark.parametrize("size", SIZES)
def test_a_caller_may_change_results(isolated: Isolated, size: int) -> None:
    """
    A caller may change a result, and no other result changes with it, be it held by the caller
    or by the function.
    """
    Block = make_block()

    @isolated()
    def keep_for_later(size: int) -> Any:
        import sys

        # It is kept by the process, for later calls.
        kept = sys.__dict__.setdefault(f"kept for a law {size}", Block(bytearray(size)))
        return {"block": kept}

    held = []
    for number in range(1, 4):
        block = keep_for_later(size)["block"]
        expect(block.ends(), (0, 0, size), "A result that nobody has written to", LOOK)
        block.fill(number)
        held.append(block)
    ends = [block.ends() for block in held]
    expect(ends, [(n, n, size) for n in range(1, 4)], "Three results written to", LOOK)
    # What was written is gone with the values that it was written to.
    del held, block
    for _ in range(3):
        ends = keep_for_later(size)["block"].ends()
        expect(ends, (0, 0, size), "A result after others were written to and dropped", LOOK)


@pytest.mark.parametrize("size", SIZES)
def test_the_items_of_a_map_may_be_changed(isolated: Isolated, size: int) -> None:
    """Every item of a map is the function's own, and every result the caller's."""
    Block = make_block()

    @isolated()
    def change_each(block: Any, number: int) -> Any:
        # No assertion: what pytest makes of it is not there in every environment.
        if block.ends()[0] != number:
            raise ValueError(block.ends())
        block.fill(number + 1)
        return block

    blocks = [Block(bytearray([number]) * size) for number in range(6)]
    changed = list(change_each.map(blocks, range(6)))
    ends = [block.ends() for block in blocks]
    expect(ends, [(n, n, size) for n in range(6)], "The caller's items of a map", LOOK)
    changed[0].fill(9)
    ends = [block.ends() for block in changed]
    expected = [(9, 9, size), *((n + 1, n + 1, size) for n in range(1, 6))]
    expect(ends, expected, "The results of a map, the first of which was written to", LOOK)


def test_the_items_of_a_map_share_nothing(isolated: Isolated) -> None:
    """
    One object that is given with every item of a map, or returned for every one, is many where
    it arrives.
    """

    @isolated()
    def append(to: list[int], number: int) -> Any:
        import sys

        to.append(number)
        kept = sys.__dict__.setdefault("kept for a law about maps", {"of": "the process"})
        return to, kept

    kept: list[int] = []
    results = list(append.map([kept] * 8, range(8)))
    look = "Open each item of a batch, and each result, on its own."
    lists = [to for to, _ in results]
    expect(lists, [[n] for n in range(8)], "One list, as each item had changed it", look)
    objects = len({id(of) for _, of in results})
    expect(objects, 8, "The number of objects among eight equal results", look)
    expect(kept, [], "The caller's list", look)


@requires("stream")
@pytest.mark.parametrize("size", SIZES)
def test_the_items_of_a_stream_may_be_changed(isolated: Isolated, size: int) -> None:
    """A function may yield one value again and again, and the caller may change it."""
    Block = make_block()

    @isolated()
    def yield_again(size: int) -> Iterator[Any]:
        block = Block(bytearray(size))
        for number in range(4):
            block.fill(number)
            yield block

    got = []
    for number, block in enumerate(yield_again(size)):
        expect(block.ends(), (number, number, size), f"Item {number} of a stream", LOOK)
        block.fill(10 + number)
        got.append(block)
    first = [block.ends()[0] for block in got]
    expect(first, [10, 11, 12, 13], "Items of a stream that were written to", LOOK)


@requires("home_calls")
@pytest.mark.parametrize("size", SIZES)
def test_the_values_of_a_call_to_home_may_be_changed(isolated: Isolated, size: int) -> None:
    """What a function sends home, and what it gets from there, may be changed on either side."""
    from fal_core import function
    from fal_testing.hosts.in_process import InProcessHost

    Block = make_block()

    @function("current", host=InProcessHost())
    def at_home(block: Any) -> Any:
        block.fill(block.ends()[0] + 1)
        return block

    @isolated()
    def ask_and_change(size: int) -> Any:
        mine = Block(bytearray(size))
        answer = at_home(mine)
        first = answer.ends()
        answer.fill(5)
        return mine.ends(), first, answer.ends()

    expect(
        ask_and_change(size),
        ((0, 0, size), (1, 1, size), (5, 5, size)),
        "What a function sent home, what came back, and that once it was written to",
        LOOK,
    )
