"""Laws of forks: a forked process keeps the values that there were when it was forked."""

from __future__ import annotations

import os
import sys
import warnings
from collections.abc import Callable
from typing import Any

import pytest

from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect
from fal_testing.harness.identities import HIDDEN, make_identify, make_living, number_of
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.processes import wait_until
from fal_testing.laws.results.values import make_block

_SIZE = 1 << 20


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_by_the_caller_keeps_results(isolated: Isolated) -> None:
    """
    A process that the caller forks reads results as they were, regardless of what later calls
    return to its parent.
    """
    Block = make_block()

    @isolated()
    def make_filled(number: int, size: int) -> Any:
        return [Block(bytearray([number]) * size)]

    results = [make_filled(1, _SIZE), make_filled(2, _SIZE)]

    def look() -> bool:
        blocks = [block for (block,) in results]
        return all(set(block.data) == {n} for n, block in enumerate(blocks, 1))

    with _Forked(look) as forked:
        del results[:]
        for number in range(3, 9):
            make_filled(number, _SIZE)
        assert forked.is_true(), (
            "A forked process found other bytes in results than there were when it was forked. "
            "Memory that a later result overwrites must not be shared with a child: copy what "
            "arrives, or hand it over by private pages."
        )


class _Forked:
    """A process that is forked, and that tells when it is asked whether something is true."""

    def __init__(self, condition: Callable[[], bool]) -> None:
        self._condition = condition

    def __enter__(self) -> _Forked:
        reader, self._writer = os.pipe()
        with warnings.catch_warnings():
            # Other threads run, none of which the forked process needs.
            warnings.simplefilter("ignore", DeprecationWarning)
            self._child = os.fork()
        if not self._child:
            try:
                os.close(self._writer)
                os.read(reader, 1)
                os._exit(0 if self._condition() else 1)
            finally:
                os._exit(2)
        os.close(reader)
        return self

    def is_true(self) -> bool:
        """Ask the process, and return what it has told."""
        os.close(self._writer)
        _, status = os.waitpid(self._child, 0)
        self._child = 0
        return status == 0

    def __exit__(self, *_: object) -> None:
        if self._child:
            self.is_true()


@requires("crash")
@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc which processes live")
def test_a_process_forked_by_a_function_keeps_arguments(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    A process that a function forks reads its arguments as they were, regardless of what later
    calls are given. A host may end it with the call.
    """
    Block = make_block()
    add, look, identify = marks.add, marks.look, make_identify()

    @isolated(max_concurrency=1)
    def work_and_fork(block: Any, seconds: float) -> Any:
        import os
        import time

        if not seconds:
            return len(block.data)
        child = os.fork()
        if child:
            return identify(child)
        try:
            until = time.monotonic() + seconds
            while not look() and time.monotonic() < until:
                time.sleep(0.02)
            add(sorted(set(block.data)))
        finally:
            os._exit(0)

    child = work_and_fork(Block(bytearray(_SIZE)), law_timeout / 2)
    hint = (
        "Memory that later arguments overwrite must not be shared with a child of the worker."
    )
    for number in range(1, 7):
        size = work_and_fork(Block(bytearray([number]) * _SIZE), 0)
        expect(size, _SIZE, "The size of an argument", hint)
    isolated()(add)("now")
    living = isolated()(make_living())
    has_settled = wait_until(
        lambda: len(marks.read()) > 1 or not any(living([child])), law_timeout
    )
    read = marks.read()[1:]
    if not read and living([child])[1]:
        pytest.skip(HIDDEN)
    assert has_settled, (
        f"The child {number_of(child)} of a function neither read its argument nor ended "
        f"within {law_timeout:g} s."
    )
    assert read in ([], ["[0]"]), (
        f"The bytes that a child of the function found in its argument: expected [0], found "
        f"{read[0]}. {hint}"
    )
