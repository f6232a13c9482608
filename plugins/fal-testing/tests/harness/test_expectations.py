"""Expectations say what was expected, what came, and where to look."""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import pytest

from fal_core import function
from fal_core.errors import Cancelled
from fal_core.events import Exited
from fal_testing import InProcessHost
from fal_testing.harness.expectations import (
    error_of,
    expect,
    expect_cancelled,
    expect_error,
    expect_no_error,
    result_of,
    wait_for_all,
)
from fal_testing.harness.recorders import Recorder


def said(raised: Any) -> str:
    """Return what the error of a block said."""
    return str(raised.value)


def test_values_are_shown_with_what_they_are() -> None:
    """Two values that differ are shown, with what they are and what to look at."""
    expect([1, 2], [1, 2], "Equal values", "There is nothing to look at.")
    with pytest.raises(AssertionError) as raised:
        expect([1, 3], [1, 2], "The items", "Keep their order.")
    assert said(raised) == "The items: expected [1, 2], found [1, 3]. Keep their order."


@pytest.mark.parametrize(
    ("found", "told"),
    [
        ([*range(99)], "expected 99 at index 99 of 100, found nothing, and 99 in all"),
        ([-1, *range(1, 100)], "expected 0 at index 0 of 100, found -1, and 100 in all"),
    ],
)
def test_long_values_are_shown_where_they_differ(found: list[int], told: str) -> None:
    """Of long lists the first item that differs is shown."""
    with pytest.raises(AssertionError) as raised:
        expect(found, [*range(100)], "The items", "Keep them.")
    assert said(raised) == f"The items: {told}. Keep them."


def test_an_error_is_expected() -> None:
    """A block has to raise an error of the class, and with the words, that is expected."""
    with expect_error(LookupError, "Pass it on.", match="gone") as caught:
        raise KeyError("gone")
    assert caught.value.args == ("gone",)
    with pytest.raises(AssertionError) as raised, expect_error(LookupError, "Pass it on."):
        pass
    assert said(raised) == "Expected LookupError, and no error was raised. Pass it on."
    with pytest.raises(AssertionError) as raised, expect_error(LookupError, "Pass it on."):
        raise ValueError("odd")
    assert said(raised) == "Expected LookupError, and ValueError (odd) was raised. Pass it on."
    with pytest.raises(AssertionError) as raised, expect_error(KeyError, "Do.", match="here"):
        raise KeyError("gone")
    assert said(raised).startswith("Expected KeyError that says 'here', and it says")


def test_no_error_is_expected() -> None:
    """An error where none is expected is told with where to look; what a law says stays."""
    with pytest.raises(AssertionError) as raised, expect_no_error("Hold no lock."):
        raise ValueError("odd")
    assert said(raised) == "Expected no error, and ValueError (odd) was raised. Hold no lock."
    with pytest.raises(AssertionError, match="own words"), expect_no_error("Hold no lock."):
        raise AssertionError("own words")


def test_a_future_without_a_result_is_told() -> None:
    """
    A call that has not ended in time is no bare TimeoutError, and one that raised a
    TimeoutError is.
    """
    future: Future[int] = Future()
    with pytest.raises(AssertionError, match=r"waited 0.01 s for the result of a spawned call"):
        result_of(future, 0.01, "a spawned call")
    with pytest.raises(AssertionError, match="1 have not ended"):
        wait_for_all([future], 0.01)
    future.set_exception(TimeoutError("own"))
    assert str(error_of(future, 0.01)) == "own"
    with pytest.raises(TimeoutError, match="own"):
        result_of(future, 0.01)


def test_end_of_a_call_that_was_not_cancelled_says_how_it_ended() -> None:
    """The error names the call and its events where it ended in another way."""

    @function("current", host=InProcessHost())
    def give() -> int:
        return 1

    cancelled, crashed = Recorder(give.make_launcher()), Recorder(give.make_launcher())
    cancelled(Exited(reason=Cancelled()))
    expect_cancelled(cancelled, 1, "a call", "Look here.")
    crashed(Exited(reason=LookupError("gone")))
    with pytest.raises(AssertionError) as raised:
        expect_cancelled(crashed, 1, "a call", "Look here.")
    assert said(raised) == (
        "The end of a call: expected Exited with the reason Cancelled. These events came: "
        "Exited with LookupError (gone). Look here."
    )
