"""Line rates: how much of what a runner prints is taken."""

from __future__ import annotations

from typing import Any

import pytest

from fal_core.events import Exited, Log
from fal_server.logs import line_rates
from fal_server.logs.line_rates import LineRate
from fal_server.logs.log_lines import OVERHEAD

#: A line that costs a hundredth of what may be printed in a second.
LINE = Log("x" * 300)
RATE = 100 * (300 + OVERHEAD)


class Clock:
    """A clock that the test turns."""

    now = 0.0

    def monotonic(self) -> float:
        return self.now

    def time(self) -> float:
        return 1_700_000_000.0 + self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock of the rates."""
    made = Clock()
    monkeypatch.setattr(line_rates, "time", made)
    return made


def test_lines_beyond_the_rate_are_dropped(clock: Clock):
    """
    A runner that was quiet prints much at once, and then as much as the rate allows; how
    many lines were dropped is said before the next one.
    """
    rate = LineRate(RATE)
    taken = [event for _ in range(2000) for event in rate.admit(LINE)]
    assert taken == [LINE] * 1600
    clock.now = 10.0
    note, line = rate.admit(LINE)
    assert isinstance(note, Log)
    assert note.message.startswith("400 lines were dropped: a runner may print ")
    assert (note.level, line) == ("WARNING", LINE)
    assert len([event for _ in range(2000) for event in rate.admit(LINE)]) == 999


def test_reader_is_told_when_the_runner_ends(clock: Clock):
    """Lines that were dropped last are told of before the end."""
    rate = LineRate(RATE)
    for _ in range(1601):
        rate.admit(LINE)
    note, end = rate.admit(Exited())
    assert isinstance(note, Log)
    assert note.message.startswith("1 line was dropped")
    assert end == Exited()
    assert rate.admit(Exited()) == (Exited(),)


@pytest.mark.parametrize("event", [Log("needed"), Exited()])
def test_what_is_waited_for_is_never_dropped(clock: Clock, event: Any):
    """Other events pass, and so do messages that are no output."""
    rate = LineRate(RATE, frozenset({"needed"}))
    for _ in range(2000):
        rate.admit(LINE)
    assert rate.admit(event)[-1] == event
