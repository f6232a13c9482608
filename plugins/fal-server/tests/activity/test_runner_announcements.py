"""Announcements of runners."""

from __future__ import annotations

import logging
import time
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from fal_server.activity.announcements import logger
from fal_server.activity.runner_announcements import tell_of
from fal_server.fleet.states import Lifecycle, RunnerPhase


@attrs.define
class Runner:
    """What is told of a runner."""

    lifecycle: Lifecycle
    id: str = "2e1f00aa11"
    spec: Any = attrs.field(factory=lambda: SimpleNamespace(full_name="owner/app"))
    reason: str = ""
    failure: str = ""
    uptime: float = 2.5
    started_at: float = attrs.field(factory=time.time)


@pytest.fixture
def events(caplog: pytest.LogCaptureFixture) -> Any:
    """Take a runner through states, and return the events that are told."""

    def through(*states: RunnerPhase, **facts: Any) -> list[str]:
        caplog.clear()
        with caplog.at_level(logging.INFO, logger.name):
            runner = Runner(Lifecycle(lambda: tell_of(runner)), **facts)
            for state in states:
                runner.lifecycle.enter(state)
        return [record.facts["event"] for record in caplog.records]

    return through


def test_starts_ends_and_failures(events: Any):
    """
    A runner that is told to end has ended, whatever its function says then; one that ends by
    itself for a reason, or before it was up, has failed.
    """
    setup, running, ended = RunnerPhase.SETUP, RunnerPhase.RUNNING, RunnerPhase.TERMINATED
    started = "runner-started"
    assert events(setup, running, ended) == [started, "runner-ended"]
    assert events(running, ended, reason="lost") == [started, "runner-failed"]
    assert events(running, ended, failure="raised") == [started, "runner-ended"]
    assert events(setup, ended, failure="raised") == ["runner-failed"]
    draining = (running, RunnerPhase.DRAINING, ended)
    assert events(*draining, reason="told") == [started, "runner-ended"]
    assert events(running, started_at=0.0) == ["runner-found"]


def test_all_are_named_with_their_owner(served_plane: Any, caplog: pytest.LogCaptureFixture):
    """
    Deployments, and runners of applications and of functions, also those that are found again,
    have the name of their owner before their own.
    """

    def compute() -> int:
        return 1

    def told(application: str) -> list[str]:
        every: list[Any] = [record.__dict__["facts"] for record in list(caplog.records)]
        return [each["event"] for each in every if each["application"] == application]

    with caplog.at_level(logging.INFO, logger.name):
        served_plane.run(compute, keep_alive=0)
        served_plane.deploy("named")
        served_plane.settle(lambda: told("owner/named") == ["runner-started", "deployed"])
        served_plane.settle(lambda: told("owner/compute") == ["runner-started", "runner-ended"])
        served_plane.restart()
        served_plane.settle(lambda: len(told("owner/named")) == 3)
    assert not told("named")
    assert not told("compute")
