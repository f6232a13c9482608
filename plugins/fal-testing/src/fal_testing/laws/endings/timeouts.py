"""Laws of timeouts: a call that takes too long is ended."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from fal_core.errors import Timeout
from fal_core.hosts import Host
from fal_testing.harness.capabilities import requires
from fal_testing.harness.expectations import expect, expect_error, result_of
from fal_testing.harness.marks import Isolated, Marks
from fal_testing.harness.processes import wait_until

#: The options that limit how long a call runs.
LIMITS = ("timeout", "request_timeout")

LOOK = (
    "The core cancels a call whose time is over: Execution.cancel has to interrupt it, and to "
    "end its process after the grace."
)


@requires("cancel")
@pytest.mark.parametrize("limit", LIMITS)
def test_a_call_that_takes_too_long_is_ended(
    isolated: Isolated, marks: Marks, law_timeout: float, limit: str
) -> None:
    """A call beyond its limit raises ``Timeout``, and its function runs no more."""
    add = marks.add

    @isolated(**{limit: 1.0})
    def beat(seconds: float) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            add("beat")
            time.sleep(0.05)

    with expect_error(Timeout, LOOK) as caught:
        beat(10 * law_timeout)
    expect(caught.value.seconds, 1.0, "The seconds that the error names", LOOK)
    assert isinstance(caught.value, TimeoutError), f"{caught.value!r} is no TimeoutError."
    _expect_rest(marks, law_timeout / 4)


@requires("cancel")
@pytest.mark.parametrize("limit", LIMITS)
def test_a_submitted_call_that_takes_too_long_is_ended(
    host: Host[..., Any], isolated: Isolated, marks: Marks, law_timeout: float, limit: str
) -> None:
    """
    A submitted call beyond its limit raises ``Timeout``. So do a spawned call, an
    item of a map and, where the host streams, a stream whose single items come in time.
    """
    add = marks.add

    @isolated(**{limit: 1.0})
    def overrun(seconds: float) -> None:
        import time

        until = time.monotonic() + seconds
        while time.monotonic() < until:
            add("beat")
            time.sleep(0.05)

    with expect_error(Timeout, LOOK):
        result_of(overrun.submit(10 * law_timeout), law_timeout)
    _expect_rest(marks, law_timeout / 4)

    @isolated(**{limit: 1.0})
    def count() -> Iterator[int]:
        import itertools
        import time

        for number in itertools.count():
            add("beat")
            time.sleep(0.05)
            yield number

    with expect_error(Timeout, LOOK):
        result_of(overrun.spawn(10 * law_timeout).future, law_timeout, "a spawned call")
    (error,) = overrun.map([10 * law_timeout], return_exceptions=True)
    expect(type(error), Timeout, "What an item of a map ends with", LOOK)
    if host.capabilities.stream:
        with expect_error(Timeout, LOOK):
            list(count())
    _expect_rest(marks, law_timeout / 4)


@requires("cancel", "option setup_function")
def test_the_setup_is_no_part_of_a_request(isolated: Isolated, law_timeout: float) -> None:
    """The time that the setup function takes does not count towards ``request_timeout``."""
    limit = min(3.0, law_timeout / 4)

    def load(seconds: float = limit + 1) -> str:
        import time

        print("loading")
        time.sleep(seconds)
        return "loaded"

    @isolated(setup_function=load, request_timeout=limit)
    def use_later(loaded: str) -> str:
        return loaded

    expect(
        use_later(),
        "loaded",
        "The result of a call whose setup takes longer than its request may",
        "Send State('running') once the setup has run: the time of a request counts from then.",
    )


def _expect_rest(marks: Marks, timeout: float) -> None:
    """Raise an AssertionError if marks are still being made after *timeout* seconds."""
    assert wait_until(lambda: marks.rest_for(0.3), timeout), (
        f"A call has ended with Timeout, and its function runs on. {LOOK}"
    )
