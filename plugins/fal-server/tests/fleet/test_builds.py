"""Builds: environments are built once, unless another build is requested."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from contextlib import aclosing
from threading import Event
from typing import Any, ClassVar

import attrs
import pytest

from fal_core.environments import CurrentEnvironment, Environment, Interpreter
from fal_core.errors import EnvironmentBuildError
from fal_core.events import Log, LogSink
from fal_server.fleet.builds import EnvironmentBuilds

PATIENCE = 60


@attrs.frozen(kw_only=True)
class CountedEnvironment(Environment):
    """An environment that counts its builds."""

    kind: ClassVar[str] = "counted"

    name: str
    force: bool = False
    fails: bool = False
    builds: list[str] = attrs.field(factory=list, eq=False)

    @property
    def key(self) -> str:
        return self.name

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        self.builds.append(self.name)
        log(Log(f"{self.name} is built."))
        if self.fails:
            raise EnvironmentBuildError(self.kind, "It cannot be built.")
        return CurrentEnvironment().build(log, cancelled)

    def extend(self, requirements: Iterable[str]) -> CountedEnvironment:
        return self


@attrs.frozen(kw_only=True)
class SlowEnvironment(CountedEnvironment):
    """An environment whose key is found once its engine answers."""

    answers: Event

    @property
    def key(self) -> str:
        assert self.answers.wait(60)
        return self.name


@attrs.frozen(kw_only=True)
class HeldEnvironment(CountedEnvironment):
    """An environment whose build lasts until it is let go on, or nobody waits for it."""

    go: Event

    def build(self, log: LogSink, cancelled: Event) -> Interpreter:
        self.builds.append(self.name)
        while not (cancelled.is_set() or self.go.wait(0.01)):
            pass
        return CurrentEnvironment().build(log, cancelled)


@pytest.fixture
def build(plane: Any) -> Any:
    """Build an environment on a control plane, and return the output of its builder."""

    async def collect(environment: Environment, again: bool) -> list[str]:
        lines = plane.plane.launcher.builds.build(environment, "one", again=again)
        return [line.message async for line in lines]

    return lambda environment, again=False: plane.run(collect(environment, again))


def test_environment_is_built_once(plane: Any, build: Any):
    """An environment built for a registration is not built again for each runner."""
    environment = CountedEnvironment(name="once")
    assert build(environment) == ["once is built."]
    assert build(environment) == []
    plane.plane.launcher.builds.ensure(environment, lambda _: None, threading.Event())
    assert environment.builds == ["once"]


def test_environment_is_built_again_where_asked(build: Any):
    """
    A client that requests a build gets one, and so does an environment declared with
    ``force``.
    """
    environment = CountedEnvironment(name="again")
    assert build(environment, True) == build(environment, True) == ["again is built."]
    forced = CountedEnvironment(name="forced", force=True)
    assert build(forced) == build(forced) == ["forced is built."]


def test_failed_build_is_repeated(build: Any):
    """An environment that could not be built is tried again, and its error is raised."""
    environment = CountedEnvironment(name="broken", fails=True)
    for _ in range(2):
        with pytest.raises(EnvironmentBuildError, match="It cannot be built"):
            build(environment)
    assert environment.builds == ["broken", "broken"]


def test_engine_that_does_not_answer_keeps_nobody_else_waiting(plane: Any):
    """
    Whoever asks for keys of environments, of which an engine does not tell, does not keep the
    server from the files of others.
    """

    async def ask() -> list[str]:
        answers, builds = Event(), plane.plane.launcher.builds
        slow = [SlowEnvironment(name=str(number), answers=answers) for number in range(40)]
        asked = [asyncio.ensure_future(builds.key_of(each)) for each in slow]
        try:
            await asyncio.wait_for(asyncio.to_thread(int), 30)
        finally:
            answers.set()
        return await asyncio.gather(*asked)

    assert plane.run(ask()) == [str(number) for number in range(40)]


def test_builds_of_an_account_leave_room_for_others():
    """
    An account has so many builds at once; others of it wait, what was built before does not,
    and nor do other accounts.
    """

    async def try_all() -> None:
        go, builds = Event(), EnvironmentBuilds(2)
        seen: list[str] = []

        async def collect(environment: Environment, owner: str) -> None:
            async with aclosing(builds.build(environment, owner)) as lines:
                async for _ in lines:
                    pass

        async def prepare(environment: CountedEnvironment, owner: str) -> None:
            prepared = builds.prepare(environment, owner, lambda _: None)
            await asyncio.wait_for(prepared, PATIENCE)
            seen.append(environment.name)

        ready = CountedEnvironment(name="ready")
        await prepare(ready, "one")
        held = [HeldEnvironment(name=f"held {number}", go=go) for number in range(4)]
        building = [asyncio.ensure_future(collect(each, "one")) for each in held]
        try:
            while not all(each.builds for each in held[:2]):
                await asyncio.sleep(0.01)
            await prepare(ready, "one")
            await prepare(CountedEnvironment(name="other"), "two")
            assert seen == ["ready", "ready", "other"]
            assert ready.builds == ["ready"]
            assert [each.builds for each in held[2:]] == [[], []]
            # One whose client has left makes room, whether it builds or waits.
            for number in (0, 2):
                building[number].cancel()
            while not held[3].builds:
                await asyncio.sleep(0.01)
            assert held[2].builds == []
        finally:
            go.set()
            await asyncio.gather(*building, return_exceptions=True)
            builds.close()

    asyncio.run(asyncio.wait_for(try_all(), 2 * PATIENCE))
