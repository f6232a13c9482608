"""A law that takes too long says what it waited for."""

from __future__ import annotations

import threading

import pytest

from fal_testing import InProcessHost
from fal_testing.harness.capabilities import (
    missing_capabilities,
    needs_of_the_law,
    requires,
    running,
)
from fal_testing.harness.deadlines import deadline


def test_deadline_says_what_was_waited_for() -> None:
    """The error of a deadline names the law, the line at which it waited, and what had come."""
    with (
        pytest.raises(AssertionError) as caught,
        deadline(0.1, "Law 'x'", lambda: "Nothing came."),
    ):
        threading.Event().wait(60)
    before, line, after = str(caught.value).split("`")
    assert before == "Law 'x' did not end within 0.1 s. It waited in "
    assert line == "threading.Event().wait(60)"
    assert after.startswith(" (test_deadlines.py, line ")
    assert after.endswith("). Nothing came.")


@requires("serve", "concurrency 3")
def needs_three() -> None:
    """A law of three calls."""


def test_law_says_how_many_calls_it_needs() -> None:
    """
    A law that needs several calls at once is not for hosts with fewer places, and its errors
    say how many it needs.
    """
    host = InProcessHost()
    assert missing_capabilities(needs_three, host) == []
    with running(needs_three, host):
        told = "The law needs room for 3 calls at once, and the host declares concurrency=4."
        assert needs_of_the_law() == told

    @requires("concurrency 5")
    def needs_five() -> None:
        pass

    assert missing_capabilities(needs_five, host) == ["concurrency 5"]
