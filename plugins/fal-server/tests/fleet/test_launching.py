"""Launching: runners that cannot be started, and those that are not found again."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from pathlib import Path
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest

from fal_core.environments import CurrentEnvironment, Environment, Interpreter
from fal_core.errors import EnvironmentBuildError, FalCoreError
from fal_core.events import Log, LogSink
from fal_server.errors import NotFound, StateUnavailable
from fal_server.fleet.launching import RunnerLauncher
from fal_server.fleet.runners import Runner
from fal_server.logs.log_lines import LogLine
from fal_server.logs.logs import Logs
from fal_server.specs.runner_specs import RunnerSpec
from fal_server.state.databases import Database

#: No runner here starts, and has sockets.
SOCKETS = Path("/nonexistent")


@attrs.frozen(kw_only=True)
class Unbuildable(Environment):
    """An environment whose build raises an error."""

    kind: ClassVar[str] = "unbuildable"

    error: Exception = attrs.field(eq=False)

    @property
    def key(self) -> str:
        return "unbuildable"

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        log(Log("It is tried."))
        raise self.error

    def extend(self, requirements: Any) -> Unbuildable:
        return self


def test_launch_that_has_not_begun_ends_with_its_launcher(database: Database):
    """A launcher that is closed drops the launches that wait for their records."""

    async def main() -> None:
        began, dropped = asyncio.Event(), False

        async def record(_: Runner) -> None:
            nonlocal dropped
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                dropped = True

        launcher = RunnerLauncher(["local"], Logs(database), {}, SOCKETS)
        spec = RunnerSpec(name="one", owner="", environment=CurrentEnvironment())
        launcher.launch(spec, lambda _: None, before=record)
        await began.wait()
        await launcher.close()
        assert dropped

    asyncio.run(asyncio.wait_for(main(), 60))


def launched(
    database: Database,
    use: Callable[[RunnerLauncher, Callable[[Runner], None]], Runner],
    echoed: list[str] | None = None,
) -> tuple[Runner, list[bool]]:
    """
    Launch a runner that ends by itself. Return it, and whether it was alive at each of its
    changes.
    """
    alive: list[bool] = []

    def echo(line: LogLine) -> None:
        if echoed is not None:
            echoed.append(line.message)

    async def main() -> Runner:
        launcher = RunnerLauncher(["local"], Logs(database), {}, SOCKETS)
        launcher.echoes["run-1"] = echo
        try:
            runner = use(launcher, lambda it: alive.append(it.is_alive))
            await asyncio.wait_for(runner.ended.wait(), 60)
            return runner
        finally:
            await launcher.logs.close()
            await launcher.close()

    return asyncio.run(main()), alive


def spec(environment: Environment | None = None) -> RunnerSpec:
    return RunnerSpec(name="one", owner="me", environment=environment or CurrentEnvironment())


@pytest.mark.parametrize(
    ("error", "sentence", "has_cause"),
    [
        (EnvironmentBuildError("unbuildable", "No wheel."), "No wheel.", True),
        (LookupError("lost"), "LookupError: lost", False),
        (
            OSError(errno.ENOSPC, "No space", "/secret"),
            "The disk of the server is full.",
            False,
        ),
    ],
)
def test_environment_that_cannot_be_built(database, error, sentence, has_cause):
    """
    A runner whose environment cannot be built ends with the reason, after its request was
    shown what the builder printed. It is not at fault where the server cannot write.
    """
    echoed: list[str] = []
    runner, alive = launched(
        database,
        lambda launcher, changed: launcher.launch(
            spec(Unbuildable(error=error)), changed, starting_request="run-1"
        ),
        echoed,
    )
    assert sentence in runner.why_it_ended
    assert (runner.cause is error) is has_cause
    assert "/secret" not in runner.why_it_ended
    assert runner.lifecycle.failed_to_start
    assert runner.lifecycle.is_blocked is isinstance(error, OSError)
    assert alive[-1] is False
    assert "It is tried." in echoed


@pytest.mark.parametrize(
    ("refusal", "is_blocked"),
    [(StateUnavailable("It is locked."), True), (NotFound("It is gone."), False)],
)
def test_runner_that_cannot_be_recorded_is_not_started(database, refusal, is_blocked):
    """
    Nothing is started for a runner that cannot be recorded; where the server cannot write,
    the runner is not at fault.
    """

    async def record(runner: Runner) -> None:
        raise refusal

    runner, _ = launched(
        database,
        lambda launcher, changed: launcher.launch(
            spec(), changed, lifetime="detached", before=record
        ),
    )
    assert runner.why_it_ended == str(refusal)
    assert runner.lifecycle.is_blocked is is_blocked
    assert runner.execution is None


def test_runner_that_cannot_be_scheduled_ends(database: Database):
    """
    A runner ends with the reason where what it asks for cannot be read, or its record not be
    made: nobody waits for it for ever.
    """

    async def record(runner: Runner) -> None:
        raise OSError("no such disk")

    asks = attrs.evolve(spec(), num_gpus=-1)
    runner, _ = launched(database, lambda it, changed: it.launch(asks, changed))
    assert "'num_gpus' must be at least 0" in runner.why_it_ended
    runner, _ = launched(
        database, lambda it, changed: it.launch(spec(), changed, before=record)
    )
    assert runner.why_it_ended == "OSError: no such disk"


def test_runner_that_is_gone_is_not_found_again(database: Database):
    """Attaching to a runner that its host does not know is an error."""

    async def main() -> None:
        launcher = RunnerLauncher(["local"], Logs(database), {}, SOCKETS)
        try:
            with pytest.raises(FalCoreError):
                launcher.attach("id", spec(), "token", "runner-gone", 1.0, lambda _: None)
        finally:
            await launcher.close()

    asyncio.run(main())


def test_start_of_a_runner_is_observed_once(database: Database):
    """The time that a runner took to start is reported when it first takes requests."""
    seconds: list[float] = []

    async def main() -> None:
        launcher = RunnerLauncher(["local"], Logs(database), {}, SOCKETS, seconds.append)
        never = Unbuildable(error=EnvironmentBuildError("unbuildable", "No wheel."))
        runner = launcher.launch(spec(never), lambda _: None)
        assert seconds == []
        runner.become_ready()
        runner.drain()
        runner.changed(runner)
        assert len(seconds) == 1
        assert 0 <= seconds[0] <= runner.uptime
        await asyncio.wait_for(runner.ended.wait(), 60)
        await launcher.logs.close()
        await launcher.close()

    asyncio.run(main())
    assert len(seconds) == 1
