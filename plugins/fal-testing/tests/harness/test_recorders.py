"""Recorders say what they waited for, and what had arrived."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from fal_core.errors import WorkerLost
from fal_core.events import Event, Exited, Log, Outcome, State
from fal_testing import Recorder
from fal_testing.harness.recorders import in_words, word_of


def record(*events: Event) -> Recorder:
    """Return a recorder that was given *events*."""
    launcher: Any = SimpleNamespace(opener=None)
    recorder = Recorder(launcher)
    for event in events:
        recorder(event)
    return recorder


def test_what_never_came_is_named_with_what_had_arrived() -> None:
    """The error of a wait names what was waited for and the events that had come."""
    recorder = record(State("queued"), Log("up"), Log("still up"), State("running"))
    with pytest.raises(AssertionError) as caught:
        recorder.wait_for(Outcome, 0.01)
    assert str(caught.value) == (
        "The law waited 0.01 s for the event Outcome. Until then came: "
        "State('queued'), a line of USER (2 times), State('running')."
    )


def test_a_line_of_the_host_is_not_taken_for_one_of_the_function() -> None:
    """A line is waited for that the function itself has printed."""
    recorder = record(Log("waiting", "STDERR", "BRIDGE"))
    with pytest.raises(AssertionError, match=r"'waiting' of the function.* a line of BRIDGE\."):
        recorder.wait_for_line("waiting", 0.01)
    recorder(Log("waiting"))
    assert recorder.wait_for_line("waiting", 0.01) == Log("waiting")


def test_events_are_told_in_few_words() -> None:
    """Where no event or very many have come, a sentence is short too."""
    assert in_words([]) == "no event"
    many = [State("running"), Log("one")] * 50
    told = in_words([word_of(each) for each in (*many, Exited(reason=WorkerLost(3)))])
    assert told.count("State") < 10
    assert "Exited with WorkerLost (The worker exited with code 3" in told
