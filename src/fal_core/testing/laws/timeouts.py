"""
Laws of timeouts: a call that takes too long is ended.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from fal_core.errors import Timeout
from fal_core.testing.capabilities import requires
from fal_core.testing.marks import Isolated, Marks
from fal_core.testing.processes import wait_until
from fal_core.testing.watching import WatchedHost


@requires("cancel")
def test_a_call_that_takes_too_long_is_ended(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    A call beyond its ``timeout`` raises ``Timeout``, and its function runs no more.
    """
    add = marks.add

    @isolated(timeout=1.0)
    def beat(seconds: float) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            add("beat")
            time.sleep(0.05)

    with pytest.raises(Timeout) as caught:
        beat(10 * law_timeout)
    assert caught.value.seconds == 1.0
    assert isinstance(caught.value, TimeoutError)
    assert _comes_to_rest(marks, law_timeout / 4)


@requires("cancel")
def test_a_submitted_call_that_takes_too_long_is_ended(
    isolated: Isolated, marks: Marks, law_timeout: float
) -> None:
    """
    The future of a submitted call beyond its ``timeout`` raises ``Timeout``.
    """
    add = marks.add

    @isolated(timeout=1.0)
    def beat(seconds: float) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            add("beat")
            time.sleep(0.05)

    with pytest.raises(Timeout):
        beat.submit(10 * law_timeout).result(law_timeout)
    assert _comes_to_rest(marks, law_timeout / 4)


@requires("cancel")
def test_calls_of_every_way_that_take_too_long_are_ended(
    isolated: Isolated, watched: WatchedHost, law_timeout: float
) -> None:
    """
    A spawned call, an item of a map and a whole stream have the ``timeout`` of a call.
    """

    @isolated(timeout=1.0)
    def wait(seconds: float) -> None:
        import time

        time.sleep(seconds)

    @isolated(timeout=1.0)
    def count() -> Iterator[int]:
        import itertools
        import time

        for number in itertools.count():
            time.sleep(0.05)
            yield number

    seconds = 10 * law_timeout
    spawned = wait.on(watched).spawn(seconds)
    assert spawned.future is not None
    assert isinstance(spawned.future.exception(law_timeout), Timeout)
    (error,) = wait.on(watched).map([seconds], return_exceptions=True)
    assert isinstance(error, Timeout)
    with pytest.raises(Timeout):
        # It yields often enough: each item alone comes in time.
        list(count.on(watched))
    assert watched.all_ended(law_timeout)


def _comes_to_rest(marks: Marks, timeout: float) -> bool:
    def quiet() -> bool:
        before = len(marks.read())
        time.sleep(0.3)
        return len(marks.read()) == before

    return wait_until(quiet, timeout)
