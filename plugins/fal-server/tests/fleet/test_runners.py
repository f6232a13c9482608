"""Runners: agents that were launched on a host."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest
from bare_runners import make_runner, raised, until

from fal_core.environments import CurrentEnvironment
from fal_core.events import Exited, Log, Outcome, Sealed
from fal_server.fleet.http_client import HttpClient
from fal_server.fleet.runners import Runner
from fal_server.fleet.states import RunnerPhase
from fal_server.logs.log_lines import LogLine
from fal_server.specs.runner_specs import RunnerSpec


@pytest.mark.parametrize(
    ("events", "sentence"),
    [
        ([Outcome(raised(ImportError("no")), True), Exited()], "raised ImportError: no"),
        ([Outcome(Sealed(b"")), Exited()], "It ended by itself before it was up."),
        ([Exited(code=3)], "exited with code 3"),
        ([Exited(signal=9)], "was killed (SIGKILL)"),
    ],
)
def test_every_end_has_a_reason(plane: Any, events: list[Any], sentence: str):
    """
    However a runner ends before it is up, the error and its log state the reason; a client
    that follows the log is not shown it twice.
    """
    echoed: list[LogLine] = []

    async def main() -> Runner:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(
                plane, exchanges, name="ends", echoes={"\0ends": echoed.append}
            )
            for event in [Log("its last line"), *events]:
                runner._events(event)
            await runner.ended.wait()
            return runner

    runner = plane.run(main())
    assert sentence in runner.why_it_ended
    assert runner.outcome.result().failure == runner.why_it_ended
    assert [line.message for line in echoed] == ["its last line"]


def in_loop(plane: Any, work: Callable[[Runner], Awaitable[None]], **fields: Any) -> None:
    """Do *work* with a runner that has come up, and whose agent cannot be reached."""

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges, **fields)
            runner.take_urls({"control": "http://127.0.0.1:1", "run": "http://127.0.0.1:1"})
            assert runner.is_running
            await work(runner)

    plane.run(main())


class Launched:
    """An execution that notes what it is told."""

    def __init__(self) -> None:
        self.told: list[Any] = []

    def drain(self) -> None:
        self.told.append("drain")

    def cancel(self, grace: float) -> None:
        self.told.append(("cancel", grace))


def test_drained_runner_is_killed_after_its_grace_period(plane):
    """A runner that is drained is told to end once, and killed if it has not ended in time."""
    execution: Any = Launched()
    spec = RunnerSpec(name="one", owner="", environment=CurrentEnvironment(), grace=0.05)

    async def work(runner: Runner) -> None:
        runner.launched(execution)
        runner.drain()
        runner.drain()
        assert execution.told == ["drain"]
        await until(lambda: runner.state is RunnerPhase.KILLED)
        assert execution.told == ["drain", ("cancel", 0.0)]
        runner._events(Exited(signal=9))
        assert not runner.is_alive
        # It was told to end, so nothing is wrong with it.
        assert (runner.reason, runner.label) == ("", "terminated")

    in_loop(plane, work, spec=spec)


def test_runner_that_is_told_to_end_before_it_is_launched(plane):
    """
    A runner that was told to end is ended as soon as its host has launched it, and takes no
    requests even if it comes up.
    """
    execution: Any = Launched()

    async def main() -> None:
        async with aclosing(HttpClient()) as exchanges:
            runner = make_runner(plane, exchanges)
            runner.kill()
            runner.launched(execution)
            assert execution.told == [("cancel", 0.0)]
            runner.take_urls({"run": "http://127.0.0.1:1"})
            assert not runner.is_running
            assert runner.label == "draining"

    plane.run(main())


def test_slot_that_is_given_back(plane):
    """A runner is idle from the moment its last request has ended."""
    released: list[int] = []

    async def work(runner: Runner) -> None:
        runner.released = lambda: released.append(runner.in_flight)
        assert runner.label == "idle"
        runner.in_flight, idle_since = 2, runner.idle_since
        runner.release()
        assert (runner.label, runner.idle_since) == ("running", idle_since)
        runner.release()
        assert runner.label == "idle"
        assert runner.idle_since >= idle_since
        assert released == [1, 0]

    in_loop(plane, work)


def test_runner_that_was_started_by_an_earlier_server(plane):
    """The uptime of a runner counts from its start, whoever started it, and ends with it."""

    async def work(runner: Runner) -> None:
        runner.was_started_at(time.time() - 3600)
        assert 3600 <= runner.uptime < 3660
        runner.kill()
        runner._events(Exited())
        uptime = runner.uptime
        assert runner.ended.is_set()
        assert runner.uptime == uptime

    in_loop(plane, work)
