"""
Tests of the events that a runner's host reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from fal_core.errors import WorkerLost
from fal_core.events import Exited, Log, Outcome, Ready, Sealed, State
from fal_server.fleet.host_events import HostEvents
from fal_server.fleet.states import Lifecycle, RunnerPhase


class Lines:
    """
    Takes lines, or fails as where nothing can be written.
    """

    def __init__(self) -> None:
        self.taken: list[Log] = []
        self.error: Exception | None = None

    def take(self, log: Log) -> None:
        if self.error is not None:
            raise self.error
        self.taken.append(log)


class Kept:
    """
    A sink whose lines, URLs and end are kept.
    """

    def __init__(self) -> None:
        self.lines: Any = Lines()
        self.lifecycle = Lifecycle(lambda: None)
        self.urls: list[Mapping[str, str]] = []
        self.ends: list[Exited] = []
        self.events = HostEvents(self.lines, self.lifecycle, self.urls.append, self.ends.append)


def test_each_event_goes_to_its_part_of_the_runner() -> None:
    """
    Lines, states, URLs and the end each go to the part of the runner that keeps them.
    """
    kept = Kept()
    log, exited = Log("a line"), Exited(reason=WorkerLost())
    for event in [log, State("starting"), State("running"), Ready({"run": "http://a"}), exited]:
        kept.events(event)
    assert kept.lines.taken == [log]
    assert kept.lifecycle.state is RunnerPhase.SETUP
    assert kept.urls == [{"run": "http://a"}]
    assert kept.ends == [exited]


def test_only_what_was_raised_is_kept() -> None:
    """
    An outcome is read if the agent has raised it.
    """
    kept = Kept()
    kept.events(Outcome(Sealed(b"")))
    assert kept.events.raised is None
    kept.events(Outcome(Sealed(b"nothing that can be read"), True))
    assert kept.events.raised is not None


def test_events_are_handled_after_one_that_could_not_be() -> None:
    """
    What a handler raises is raised to the loop; the runner is not ended for it.
    """
    kept = Kept()
    kept.lines.error = OSError("The disk is full.")
    with pytest.raises(OSError, match="full"):
        kept.events(Log("a line"))
    kept.events(State("building"))
    kept.events(exited := Exited())
    assert kept.lifecycle.state is RunnerPhase.BUILDING
    assert kept.ends == [exited]
