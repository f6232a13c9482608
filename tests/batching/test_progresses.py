"""How far a map is, as it is shown."""

from __future__ import annotations

import re
from typing import Any

import pytest

from fal_core import function
from fal_core.batching.progresses import MapProgress, count_items
from fal_core_worker.stream.frames import RAISED, VALUE
from fal_testing import InProcessHost


def test_items_are_counted_where_all_inputs_have_a_size():
    """The shortest input ends a map."""
    assert count_items([[1, 2, 3], "ab"]) == 2
    assert count_items([[1, 2], iter([1])]) is None
    assert count_items([]) is None


def test_description_says_how_long_it_takes_to_the_end():
    """The time that is left is known where the number of items is."""
    progress = MapProgress("double", 10)
    assert progress.describe(0.0) == "double: 0 of 10 in 0.0 s"
    progress.add([(VALUE, 1), (RAISED, ValueError())])
    assert progress.describe(3.0) == "double: 2 of 10 (1 failed) in 3.0 s, about 12 s left"
    progress = MapProgress("double", None)
    progress.add([(VALUE, 1)])
    assert progress.describe(3.0) == "double: 1 in 3.0 s"


@pytest.mark.parametrize("ordered", [True, False])
def test_map_ends_with_a_line_of_its_progress(capfd: Any, ordered: bool):
    """The line says how many items have ended, once, on standard error."""

    @function("current", host=InProcessHost())
    def double(x: int) -> int:
        return 2 * x

    results = double.map([1, 2, 3], ordered=ordered, progress=True)
    assert sorted(results) == [2, 4, 6]
    results.close()
    printed = capfd.readouterr()
    assert printed.out == ""
    assert re.fullmatch(r"double: 3 of 3 in [0-9.]+ s\n", printed.err)


def test_map_is_silent_unless_it_is_asked(capfd: Any):
    """Without ``progress`` nothing is printed."""

    @function("current", host=InProcessHost())
    def double(x: int) -> int:
        return 2 * x

    assert list(double.map([1])) == [2]
    assert capfd.readouterr() == ("", "")


def test_map_that_raises_says_how_far_it_came(capfd: Any):
    """The line counts what has failed."""

    @function("current", host=InProcessHost())
    def invert(x: int) -> float:
        return 1 / x

    with pytest.raises(ZeroDivisionError):
        list(invert.map([0], progress=True))
    assert re.fullmatch(r"invert: 1 of 1 \(1 failed\) in [0-9.]+ s\n", capfd.readouterr().err)
