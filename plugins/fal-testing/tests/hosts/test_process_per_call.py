"""The host for the tests of environments."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from fal_core import WorkerLost, function
from fal_testing import ProcessHost

HOST = ProcessHost()


def test_each_call_has_a_process() -> None:
    """A call runs in a process of its own, and its exception or items arrive."""

    @function("current", host=HOST)
    def look() -> int:
        import os

        print("looking")
        return os.getpid()

    @function("current", host=HOST)
    def count() -> Iterator[int]:
        yield from range(3)
        raise LookupError("no more")

    assert len({os.getpid(), look(), look()}) == 3
    items = count()
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="no more"):
        next(items)


def test_a_process_that_ends_is_lost() -> None:
    """A function that ends its process raises ``WorkerLost`` with the exit code."""

    @function("current", host=HOST)
    def leave() -> None:
        import os

        os._exit(3)

    with pytest.raises(WorkerLost) as caught:
        leave()
    assert caught.value.code == 3
