"""
Laws of values: what arrives belongs to whoever got it, and may be changed.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.testing.harness.capabilities import requires
from fal_core.testing.harness.marks import Isolated

#: Bytes: travels in the pickle, travels beside it, is larger than many a limit.
SIZES = (1000, 1 << 17, 8 << 20)


def make_block() -> Any:
    """
    Return a class of values that travel beside the pickle where they are large.
    """

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
    That holds for values of any size, nested ones too. Those of the caller stay as they are,
    and every call gets them anew.
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
        assert answer == ((0, 0, size), (number, number, size))
        assert mine.ends() == (0, 0, size)


@pytest.mark.parametrize("size", SIZES)
def test_a_caller_may_change_results(isolated: Isolated, size: int) -> None:
    """
    No other result changes with one, be it held by the caller or by the function.
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
        assert block.ends() == (0, 0, size)
        block.fill(number)
        held.append(block)
    assert [block.ends() for block in held] == [(n, n, size) for n in range(1, 4)]
    # What was written is gone with the values that it was written to.
    del held, block
    for _ in range(3):
        assert keep_for_later(size)["block"].ends() == (0, 0, size)


@pytest.mark.parametrize("size", SIZES)
def test_the_items_of_a_map_may_be_changed(isolated: Isolated, size: int) -> None:
    """
    Every item is the function's own, and every result the caller's.
    """
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
    assert [block.ends() for block in blocks] == [(n, n, size) for n in range(6)]
    changed[0].fill(9)
    ends = [block.ends() for block in changed]
    assert ends == [(9, 9, size), *((n + 1, n + 1, size) for n in range(1, 6))]


def test_the_items_of_a_map_share_nothing(isolated: Isolated) -> None:
    """
    One object that is given with every item, or returned for every one, is many where it
    arrives.
    """

    @isolated()
    def append(to: list[int], number: int) -> Any:
        import sys

        to.append(number)
        kept = sys.__dict__.setdefault("kept for a law about maps", {"of": "the process"})
        return to, kept

    kept: list[int] = []
    results = list(append.map([kept] * 8, range(8)))
    assert [to for to, _ in results] == [[number] for number in range(8)]
    assert len({id(of) for _, of in results}) == 8
    assert kept == []


@requires("stream")
@pytest.mark.parametrize("size", SIZES)
def test_the_items_of_a_stream_may_be_changed(isolated: Isolated, size: int) -> None:
    """
    A function may yield one value again and again, and whoever gets it may change it.
    """
    Block = make_block()

    @isolated()
    def yield_again(size: int) -> Iterator[Any]:
        block = Block(bytearray(size))
        for number in range(4):
            block.fill(number)
            yield block

    got = []
    for number, block in enumerate(yield_again(size)):
        assert block.ends() == (number, number, size)
        block.fill(10 + number)
        got.append(block)
    assert [block.ends()[0] for block in got] == [10, 11, 12, 13]


@requires("home_calls")
@pytest.mark.parametrize("size", SIZES)
def test_the_values_of_a_call_to_home_may_be_changed(isolated: Isolated, size: int) -> None:
    """
    What a function sends home, and what it gets from there, is of two owners too.
    """
    from fal_core.decorators import function
    from fal_core.testing.hosts.in_process import InProcessHost

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

    assert ask_and_change(size) == ((0, 0, size), (1, 1, size), (5, 5, size))
