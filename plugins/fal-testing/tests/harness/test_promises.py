"""The table of promises says in words of the laws what a host keeps."""

from __future__ import annotations

import pytest

from fal_core.errors import HostError, WorkerLost
from fal_testing.harness.expectations import NO_OUTCOME, expect_error, expect_no_error
from fal_testing.harness.promises import Promise, count_of, rows_of, sentence_of, warning_of


def test_a_broken_promise_has_the_sentence_of_its_law() -> None:
    """
    What pytest adds to an assertion, and line ends, are left out; an error that says nothing
    has its name.
    """
    said = "What came: expected 1,\nfound 2.\nassert 2 == 1\n  +  where 2 = f()"
    assert sentence_of(AssertionError(said)) == "What came: expected 1, found 2."
    assert (
        sentence_of(LookupError("gone"))
        == "LookupError was raised where none was expected: gone."
    )
    told = "TimeoutError was raised where none was expected. Look at launch."
    assert sentence_of(TimeoutError(), "Look at launch.") == told
    assert sentence_of(pytest.fail.Exception("no error")) == "no error"


def test_an_error_of_the_host_is_to_be_looked_at_itself() -> None:
    """
    Where the host has ended a call without an outcome, what the laws say of outcomes is no
    help: the sentence points at the error.
    """
    told = sentence_of(HostError("the machine is off"), "Pass on what is sealed.")
    assert told.startswith("HostError was raised where none was expected: the machine is off. ")
    assert told.endswith(NO_OUTCOME)
    with pytest.raises(AssertionError, match=NO_OUTCOME), expect_error(LookupError, "Seal it."):
        raise HostError("the machine is off")
    with pytest.raises(AssertionError, match=NO_OUTCOME), expect_no_error("Seal it."):
        raise HostError("the machine is off")
    with pytest.raises(AssertionError, match="Say so"), expect_error(WorkerLost, "Say so."):
        raise HostError("the machine is off")


def test_only_what_is_not_kept_needs_a_reason() -> None:
    """A promise that is not kept has a second row, which says why."""
    kept = Promise(group="call", law="test_one", text="One.", kept="kept")
    broken = Promise(group="logs", law="test_two", text="Two.", kept="broken", why="Came 3.")
    missing = Promise(
        group="serve", law="test_four", text="Four.", kept="not claimed", why="It needs serve."
    )
    assert rows_of([kept, broken, missing]) == [
        ("kept", "call", "One."),
        ("broken", "logs", "Two."),
        ("", "", "  test_two: Came 3."),
        ("not claimed", "serve", "Four."),
        ("", "", "  It needs serve."),
    ]
    assert count_of([kept, broken, missing]) == "Promises: 1 kept, 1 broken, 1 not claimed."


def test_laws_that_were_not_checked_are_named() -> None:
    """One sentence names them, and of many the first."""
    assert warning_of([]) == ""
    assert warning_of(["test_one"]).startswith("1 law was not checked, so nobody knows ")
    told = warning_of([f"test_{number}" for number in range(9)])
    assert told.startswith("9 laws were not checked, ")
    assert told.endswith("test_4, test_5 and 3 more.")
