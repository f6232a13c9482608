"""The progress that ``fal-core run`` shows of a call."""

from __future__ import annotations

import io
from collections.abc import Iterator

from fal_core import function
from fal_core.cli.progress import Progress, shown
from fal_core.events import Log
from fal_testing import InProcessHost


def test_showing_changes_neither_the_function_nor_its_host() -> None:
    """The shown function runs on a wrapper host; the function and its host stay unchanged."""
    host = InProcessHost()

    @function("current", host=host)
    def add(a: int, b: int) -> int:
        print("adding")
        return a + b

    lines: list[Log] = []
    assert add(1, 1) == 2
    before = dict(vars(host))
    with shown(add, Progress(io.StringIO(), lines.append)) as called:
        assert called.__name__ == "add"
        assert called.options is add.options
        assert called(1, 2) == 3
        assert vars(host) == before
    assert [line.message for line in lines] == ["adding"]
    assert add.host is host
    assert add(2, 2) == 4
    assert len(lines) == 1


def test_items_of_a_generator_are_shown() -> None:
    """A generator streams through the wrapper host."""

    @function("current", host=InProcessHost())
    def count(up_to: int) -> Iterator[int]:
        for number in range(up_to):
            print("at", number)
            yield number

    lines: list[Log] = []
    with shown(count, Progress(io.StringIO(), lines.append)) as called:
        assert list(called.stream(3)) == [0, 1, 2]
    assert [line.message for line in lines] == ["at 0", "at 1", "at 2"]
